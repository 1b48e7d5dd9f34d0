"""What tests hand over and programs return: data by value, everything else by stand-ins that cannot be lied with."""

import sys

import pytest

from mot_trl.sandbox import Job, ProgramRunner

pytest.importorskip("numpy")

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="programs are confined on Linux only"),
    pytest.mark.filterwarnings("ignore:The sandbox runs with fewer layers"),
]

ECHO = "def f(x):\n    return x\n"
IMPORTS = (
    "import functools, io, itertools, math, operator, re, unittest, uuid\n"
    "from collections import Counter, OrderedDict, defaultdict, deque, namedtuple\n"
    "from dataclasses import dataclass\nfrom datetime import date, datetime, time, timedelta, timezone\n"
    "from decimal import Decimal\nfrom enum import Enum, IntEnum\nfrom fractions import Fraction\n"
    "from pathlib import PurePosixPath\nfrom types import SimpleNamespace\nimport numpy as np\n"
)


@pytest.fixture(scope="module")
def runner():
    with ProgramRunner(workers=1, timeout=2.0, memory_mb=512, preload=("numpy",)) as shared:
        yield shared


@pytest.fixture(scope="module")
def hurried():
    with ProgramRunner(workers=1, timeout=0.3, memory_mb=512) as shared:
        yield shared


def run(runner, program, test, *names, prelude="", setup=""):
    return runner.run(
        Job(program, (test,), tuple((name, name) for name in names), prelude=prelude, setup=IMPORTS + setup)
    )


@pytest.mark.parametrize(
    "value",
    [
        "Decimal('1.50')",
        "Decimal('-0E-9')",
        "Fraction(1, 3)",
        "date(2020, 1, 2)",
        "datetime(2020, 1, 2, 3, 4, 5, 6)",
        "datetime(2020, 1, 2, tzinfo=timezone(timedelta(hours=-3)))",
        "time(1, 2)",
        "timedelta(-1, 2, 3)",
        "timezone.utc",
        "deque([1, [2]], maxlen=3)",
        "range(1, 9, 2)",
        "slice(1, None)",
        "Counter('aab')",
        "OrderedDict(b=1, a=2)",
        "defaultdict(list, {1: [2]})",
        "bytearray(b'x')",
        "b'x'",
        "1j",
        "frozenset([1])",
        "{1: 2}.keys()",
        "{1: 2}.items()",
        "...",
        "Decimal",
        "uuid.UUID(int=5)",
        "re.compile('a', re.IGNORECASE)",
        "PurePosixPath('/a')",
        "SimpleNamespace(a=1)",
        "{Decimal(1): [date(2020, 1, 2), (Fraction(1, 2), {1, 2})]}",
    ],
)
def test_values_cross_there_and_back(runner, value):
    # Those of the last four modules go there only, so they come back as text.
    program = (
        "def f(x):\n    return type(x).__name__, x if type(x).__module__ not in OPAQUE else str(x)\n"
        "OPAQUE = 'uuid', 're', 'pathlib', 'types'\n"
    )
    test = f"x = {value}\nname, y = f(x)\nassert name == type(x).__name__\nassert y == x or y == str(x)"

    result = run(runner, program, test, "f")

    assert result.passed, result


GIVEN = {
    "named tuple": ("return x.a + x[1]", "P = namedtuple('P', 'a b')\nassert f(P(1, 2)) == 3"),
    "lambda": ("return [x(1), x(2)]", "assert f(lambda n: n * 2) == [2, 4]"),
    "key": ("return sorted([3, 1], key=x)", "assert f(lambda n: -n) == [3, 1]"),
    "built-in": ("return x('a')", "assert f(str.upper) == 'A' and f(len) == 1"),
    "operator": ("return x(1, 2)", "assert f(operator.add) == 3 and f(max) == 2 and f(pow) == 1"),
    "getter": ("return x([1, 2])", "assert f(operator.itemgetter(1)) == 2"),
    "partial": ("return x(3)", "assert f(functools.partial(pow, 2)) == 8"),
    "partial of a lambda": ("return x(3)", "assert f(functools.partial(lambda a, b: a - b, 2)) == -1"),
    "decorated": ("return x(3)", "@functools.lru_cache\ndef g(n):\n    return n + 1\nassert f(g) == 4"),
    "bound method": ("x(1)\n    x(2)", "seen = []\nf(seen.append)\nassert seen == [1, 2]"),
    "iterator": ("return next(x), next(x)", "it = iter([1, 2, 3])\nassert f(it) == (1, 2) and next(it) == 3"),
    "endless iterator": ("return next(x), next(x)", "assert f(itertools.count(5)) == (5, 6)"),
    "generator": ("return list(x)", "assert f(n * n for n in [2, 3]) == [4, 9]"),
    "zip": ("return dict(x)", "assert f(zip('ab', [3, 4])) == {'a': 3, 'b': 4}"),
    "file": ("return [line.strip() for line in x]", "assert f(io.StringIO('a\\nb')) == ['a', 'b']"),
    "file to write": ("x.write('hi')", "s = io.StringIO()\nf(s)\nassert s.getvalue() == 'hi'"),
    "array": ("return x.sum(axis=0)", "assert np.array_equal(f(np.arange(6).reshape(2, 3)), [3, 5, 7])"),
    "array of text": ("return x[::-1]", "assert (f(np.array(['a', 'bc'])) == ['bc', 'a']).all()"),
    "array of objects": ("return len(x), x[1]", "assert f(np.array([1, [2]], dtype=object)) == (2, [2])"),
    "array changed": ("x[0] = 9", "v = np.zeros(2)\nf(v)\nassert v[0] == 9"),
    "deque changed": ("x.append(3)", "d = deque([1])\nf(d)\nassert d == deque([1, 3])"),
    "counter changed": ("x['a'] += 1", "c = Counter('a')\nf(c)\nassert c == Counter('aa')"),
    "bytes changed": ("x += b'y'", "b = bytearray(b'x')\nf(b)\nassert b == b'xy'"),
    "object": (
        "x.n += 1\n    return x.n + x.double()",
        "class A:\n    n = 1\n    def double(self):\n        return self.n * 2\n"
        "a = A()\nassert f(a) == 6 and a.n == 2",
    ),
    "its own object back": ("return [x, x.next]", "a = SELF()\na.next = a\ng = f(a)\nassert g[0] is a and g[1] is a"),
    "object with operators": (
        "return (x + 1) * 2, len(x), x[3], 5 in x, str(x), bool(x), list(x)",
        "assert f(OPS()) == (4, 7, 3, True, 'ops', True, [1, 2])",
    ),
    "data class": ("return x.a + x.b", "@dataclass\nclass P:\n    a: int\n    b: int\nassert f(P(1, 2)) == 3"),
    "enum": ("return x.name, x.value", "class C(Enum):\n    RED = 1\nassert f(C.RED) == ('RED', 1)"),
    "class": ("return x(5).n", "class A:\n    def __init__(self, n):\n        self.n = n\nassert f(A) == 5"),
    "module": ("return x.sqrt(4)", "assert f(math) == 2.0"),
    "function that raises": (
        "try:\n        x()\n    except KeyError as error:\n        return error.args[0]",
        "def g():\n    raise KeyError('no')\nassert f(g) == 'no'",
    ),
    "itself": ("return x if isinstance(x, int) else x(7)", "assert f(f) == 7"),
    "lambda that calls it": ("return x if isinstance(x, int) else x()", "assert f(lambda: f(3) * 2) == 6"),
    "keywords": ("return x(self=1, target=2, do=3)", "assert f(lambda **k: sorted(k)) == ['do', 'self', 'target']"),
}
SETUP = """
class SELF: pass
class OPS:
    def __add__(self, n): return n + 1
    def __len__(self): return 7
    def __getitem__(self, n): return n
    def __contains__(self, n): return n == 5
    def __str__(self): return "ops"
    def __bool__(self): return True
    def __iter__(self): return iter([1, 2])
"""


@pytest.mark.parametrize("name", GIVEN)
def test_programs_can_use_what_tests_hand_over(runner, name):
    body, test = GIVEN[name]

    result = run(runner, f"def f(x):\n    {body}\n", test, "f", setup=SETUP)

    assert result.passed, result


RETURNED = {
    "generator": ("yield 1\n    yield 2", "list(f()) == [1, 2] and sum(f()) == 3 and next(f()) == 1"),
    "endless generator": ("while True:\n        yield 1", "list(itertools.islice(f(), 3)) == [1, 1, 1]"),
    "generator to send to": ("x = yield 1\n    yield x", "(lambda g: (next(g), g.send(7)))(f()) == (1, 7)"),
    "zip": ("return zip([1], [2])", "list(f()) == [(1, 2)]"),
    "map": ("return map(str, [1])", "list(f()) == ['1'] and ''.join(f()) == '1'"),
    "filter": ("return filter(None, [0, 1])", "set(f()) == {1}"),
    "enumerate": ("return enumerate('a')", "dict(f()) == {0: 'a'}"),
    "reversed": ("return reversed([1, 2])", "sorted(f()) == [1, 2] and tuple(f()) == (2, 1)"),
    "range": ("return range(3)", "f() == range(3) and len(f()) == 3 and 2 in f() and f()[1] == 1"),
    "keys": ("return {1: 2}.keys()", "f() == {1} and sorted(f()) == [1] and 1 in f()"),
    "values": ("return {1: 2}.values()", "list(f()) == [2] and len(f()) == 1"),
    "items": ("return {1: 2}.items()", "dict(f()) == {1: 2} and (1, 2) in f()"),
    "Decimal": ("from decimal import Decimal\n    return Decimal('1.5')", "f() == 1.5 and str(f() + 1) == '2.5'"),
    "Fraction": ("from fractions import Fraction\n    return Fraction(1, 2)", "f() == 0.5 and f() + 1 > 1"),
    "date": ("from datetime import date\n    return date(2020, 1, 2)", "f().year == 2020 and f() < date.today()"),
    "Counter": ("from collections import Counter\n    return Counter('aab')", "f().most_common(1) == [('a', 2)]"),
    "deque": ("from collections import deque\n    return deque([1])", "list(f()) == [1] and f()[0] == 1"),
    "named tuple": ("from collections import namedtuple\n    return namedtuple('P', 'x')(1)", "f().x == f()[0] == 1"),
    "array": ("import numpy as np\n    return np.eye(2)", "f().tolist() == [[1, 0], [0, 1]] and f().shape == (2, 2)"),
    "NumPy number": ("import numpy as np\n    return np.int64(3)", "f() == 3 and f() + 1 == 4"),
    "closure": ("return lambda x: x + 1", "f()(2) == 3 and callable(f())"),
    "match": ("import re\n    return re.match('(a)', 'abc')", "f().group(1) == 'a' and f().span() == (0, 1)"),
    "data class": (
        "from dataclasses import make_dataclass\n    return make_dataclass('P', ['x'])(1)",
        "f().x == 1 and 'x=1' in repr(f())",
    ),
    "file": ("import io\n    return io.StringIO('ab')", "f().read() == 'ab' and next(iter(f())) == 'ab'"),
    "complex": ("return 1j", "f() * f() == -1"),
    "byte array": ("return bytearray(b'x')", "f() == b'x' and isinstance(f(), bytearray)"),
}


@pytest.mark.parametrize("name", RETURNED)
def test_tests_can_use_what_programs_return(runner, name):
    body, test = RETURNED[name]

    result = run(runner, f"def f():\n    {body}\n", f"assert {test}", "f")

    assert result.passed, result


CLASSES = """
class Vector:
    def __init__(self, *v): self.v = list(v)
    def __add__(self, o): return Vector(*[a + b for a, b in zip(self.v, o.v)])
    def __mul__(self, k): return Vector(*[a * k for a in self.v])
    __rmul__ = __mul__
    def __eq__(self, o): return isinstance(o, Vector) and self.v == o.v
    def __lt__(self, o): return self.v < (o.v if isinstance(o, Vector) else [o])
    def __len__(self): return len(self.v)
    def __getitem__(self, i): return self.v[i]
    def __setitem__(self, i, x): self.v[i] = x
    def __iter__(self): return iter(self.v)
    def __str__(self): return "<" + ",".join(map(str, self.v)) + ">"
    def __repr__(self): return "Vector" + str(tuple(self.v))
    def __hash__(self): return hash(tuple(self.v))
    def __bool__(self): return any(self.v)
    def __abs__(self): return sum(x * x for x in self.v) ** 0.5
    def __neg__(self): return self * -1
    def __call__(self, k): return self.v[k]
    def __enter__(self): return self
    def __exit__(self, kind, error, traceback):
        self.closed = True
        return kind is ValueError
class Sub(Vector): pass
class Stack(list):
    def push(self, x): self.append(x)
    def peek(self): return self[-1]
class Trie:
    def __init__(self): self.words = set()
    def insert(self, word): self.words.add(word)
    def __contains__(self, word): return word in self.words
class Node:
    def __init__(self, n): self.n, self.next = n, None
class Chain:
    def __init__(self, *ns):
        self.head = None
        for n in reversed(ns):
            node = Node(n)
            node.next, self.head = self.head, node
    def __eq__(self, o): return [*self] == [*o]
    def __iter__(self):
        node = self.head
        while node:
            yield node.n
            node = node.next
def make(*v): return Vector(*v)
"""


@pytest.mark.parametrize(
    "test",
    [
        "v = make(1, 2)\nassert len(v) == 2 and v[0] == 1 and v[-1] == 2 and v[0:1] == [1]",
        "assert 1 in make(1, 2) and 3 not in make(1, 2)",
        "assert make(1, 2) + make(3, 4) == make(4, 6)",
        "assert make(1, 2) != make(1, 3) and not make(1, 2) == make(1, 3)",
        "assert make(1, 2) < make(1, 3) and not make(2) < make(1)",
        "assert isinstance(make(1), Vector) and not isinstance(3, Vector) and issubclass(Sub, Vector)",
        "assert str(make(1, 2)) == f'{make(1, 2)}' == '<1,2>' and repr(make(1)) == 'Vector(1,)'",
        "assert list(make(1, 2)) == [1, 2] and sum(make(1, 2)) == 3 and sorted(make(2, 1)) == [1, 2]",
        "v = make(1, 2)\nv[0] = 5\nassert v[0] == 5 and v.v == [5, 2]",
        "with make(1) as v:\n    raise ValueError\nassert v.closed",
        "assert bool(make(0)) is False and make(1) and abs(make(3, 4)) == 5.0 and make(1, 2)(1) == 2",
        "assert -make(1) == make(-1)",
        "assert Vector(1, 2) * 2 == Vector(2, 4) and 2 * Vector(1, 2) == Vector(2, 4)",
        "assert {make(1): 2}[make(1)] == 2 and len({make(1), make(1)}) == 1",
        "assert make(1) in [make(1)] and make(2) not in [make(1)]",
        "assert max(make(1), make(2)) == make(2) and sorted([make(2), make(1)])[0] == make(1)",
        "assert Vector(1) < 5",
        "assert hasattr(make(1), 'v') and not hasattr(make(1), 'w') and getattr(make(1), 'w', 7) == 7",
        "v = make(1)\ndel v.v\nassert not hasattr(v, 'v')",
        "t = Trie()\nt.insert('a')\nassert 'a' in t and 'b' not in t",
        "s = Stack()\ns.push(1)\nassert s == [1] and len(s) == 1 and s.peek() == 1 and s[0] == 1 and 1 in s",
        "assert Chain(1, 2) == Chain(1, 2) and Chain(1, 2) != Chain(1, 3)",
        "assert Node(1) != Node(1)",  # of no equality of its own
        "a = make(1)\nassert a == a",
    ],
)
def test_tests_can_use_the_programs_own_objects(runner, test):
    names = ("make", "Vector", "Sub", "Stack", "Trie", "Node", "Chain")

    # The last test compares a name with itself, which alone would be no check.
    result = run(runner, CLASSES, f"{test}\nassert make(1).v == [1]", *names)

    assert result.passed, result


PRELUDE = (
    "from dataclasses import dataclass\nfrom enum import Enum\n@dataclass(frozen=True)\nclass Point:\n    x: int\n"
    "    y: int\nclass Color(Enum):\n    RED = 1\n    BLUE = 2\n"
    "class ListNode:\n    def __init__(self, val=0, next=None):\n        self.val, self.next = val, next\n"
)


@pytest.mark.parametrize(
    ("body", "test"),
    [
        ("return Point(x.x + 1, x.y)", "assert f(Point(1, 2)) == Point(2, 2)"),
        ("return Color.BLUE if x is Color.RED else x", "assert f(Color.RED) is Color.BLUE"),
        ("return isinstance(x, Point)", "assert f(Point(1, 2)) is True and f(3) is False"),
        ("x.next = x.next.next", "n = ListNode(1, ListNode(2, ListNode(3)))\nf(n)\nassert n.next.val == 3"),
    ],
)
def test_objects_of_classes_that_both_sides_have_cross_by_value(runner, body, test):
    result = run(runner, f"def f(x):\n    {body}\n", test, "f", prelude=PRELUDE)

    assert result.passed, result


def test_nodes_of_a_class_that_only_the_tests_have_stay_with_them(runner):
    program = (
        "def f(node):\n    found = None\n    while node:\n"
        "        node.next, found, node = found, node, node.next\n    return found\n"
    )
    setup = "class ListNode:\n    def __init__(self, val=0, next=None):\n        self.val, self.next = val, next\n"
    test = "n = ListNode(1, ListNode(2))\nm = f(n)\nassert (m.val, m.next is n, n.next) == (2, True, None)"

    assert run(runner, program, test, "f", setup=setup).passed


RAISING = """
class BadError(ValueError):
    code = 7
class WorseError(BadError): pass
def f(x):
    if x == "bad": raise BadError("one", 2)
    if x == "worse": raise WorseError("two")
    if x == "exit": raise SystemExit(3)
    if x == "interrupt": raise KeyboardInterrupt
    if x == "name": raise NameError("n")
    if x == "lies": raise type("ValueError", (Exception,), {"__module__": "builtins"})()
    if x == "none": return None
    return eval(x)
"""


@pytest.mark.parametrize(
    ("x", "kind"),
    [
        ("bad", "BadError"),
        ("bad", "ValueError"),
        ("worse", "BadError"),
        ("worse", "(KeyError, WorseError)"),
        ("bad", "Exception"),
        ("exit", "SystemExit"),
        ("interrupt", "KeyboardInterrupt"),
        ("name", "NameError"),
        ("[][1]", "LookupError"),
        ("{}[1]", "KeyError"),
        ("1 / 0", "ZeroDivisionError"),
        ("1 / 0", "ArithmeticError"),
        ("int('x')", "(TypeError, ValueError)"),
        ("b'\\xff'.decode()", "UnicodeDecodeError"),
        ("next(iter([]))", "StopIteration"),
        ("open('/nonexistent')", "OSError"),
        ("__import__('nosuch')", "ImportError"),
        ("__import__('json').loads('x')", "ValueError"),
        ("__import__('decimal').Decimal('x')", "ArithmeticError"),
        ("len(3)", "TypeError"),
        ("f.x", "AttributeError"),
    ],
)
def test_tests_catch_what_the_program_raises_by_its_type(runner, x, kind):
    caught = f"try:\n    f({x!r})\n    assert False\nexcept {kind}:\n    pass"
    missed = caught.replace(f"except {kind}", "except BufferError")
    unraised = caught.replace(repr(x), "'none'")
    names = "f", "BadError", "WorseError"

    assert run(runner, RAISING, caught, *names).passed
    assert run(runner, RAISING, missed, *names).status == "failed"
    assert run(runner, RAISING, unraised, *names).status in ("failed", "unsupported")


@pytest.mark.parametrize(
    ("test", "status"),
    [
        (
            "try:\n    f('bad')\nexcept BadError as e:\n    s = e\nassert (s.args, s.code) == (('one', 2), 7)",
            "passed",
        ),
        ("try:\n    f('worse')\nexcept ValueError as e:\n    said = e\nassert str(said) == 'two'", "passed"),
        (
            "try:\n    f('worse')\nexcept ValueError as e:\n    said = e\nassert type(said).__name__ == 'WorseError'",
            "passed",
        ),
        ("import pytest\nwith pytest.raises(ValueError, match='^two$'):\n    f('worse')", "passed"),
        ("import pytest\nwith pytest.raises(ValueError):\n    f('none')", "failed"),
        ("with unittest.TestCase().assertRaises(ValueError):\n    f('bad')", "passed"),
        ("with unittest.TestCase().assertRaises(ValueError):\n    f('none')", "failed"),
        ("with unittest.TestCase().assertRaises(KeyError):\n    f('bad')", "failed"),
    ],
)
def test_exceptions_say_what_they_say_in_the_program(runner, test, status):
    assert run(runner, RAISING, test, "f", "BadError", "WorseError").status == status


LIAR = """
class Liar:
    def __getattr__(self, name): return self
    def __call__(self, *a, **k): return self
for name in "eq ne lt le gt ge contains bool".split():
    setattr(Liar, f"__{name}__", lambda *a: True)
for name in "add sub radd rsub mul rmul abs neg truediv round mod rmod pow divmod".split():
    setattr(Liar, f"__{name}__", lambda *a: 0.0)
Liar.__hash__ = lambda self: 0
def f(*a): return Liar()
class Fake: pass
class Near(float):
    __sub__ = __rsub__ = __abs__ = lambda *a: 0.0
    __lt__ = __le__ = __eq__ = lambda *a: True
def near(*a): return Near(1)
"""


@pytest.mark.parametrize(
    "test",
    [
        "assert f(1) == 3",
        "assert 3 == f(1)",
        "assert not f(1) != 3",
        "assert f(1) in [3]",
        "assert 3 in f(1)",
        "assert f(1) < 5",
        "assert 1 < f(1) <= 5",
        "assert abs(f(1) - 3.5) < 1e-6",
        "assert abs(3.5 - f(1)) < 1e-6",
        "assert f(1) - 3 == 0",
        "assert f(1) % 7 == 3",
        "assert f(1) + [3] == [3]",
        "assert [f(1)] == [3]",
        "assert {'a': f(1)} == {'a': 3}",
        "assert {f(1)} == {3}",
        "assert max(f(1), 3) == 3",
        "assert sorted([f(1), 3]) == [3, 3]",
        "assert math.isclose(f(1), 3.0)",
        "assert round(f(1), 2) == 3.0",
        "assert np.allclose(f(1), 3.0)",
        "assert (np.array([3.0]) == f(1)).all()",
        "assert Decimal(3) == f(1)",
        "assert f(1) == Fake()",
        "assert Fake() == f(1)",
        "assert isinstance(f(1), int)",
        "assert f(1) is True",
        "unittest.TestCase().assertAlmostEqual(f(1), 3.0)\nassert f(1) == f(1) or f(2)",
        "assert f(1).value == 3",
        "assert near(1) == 3",
        "assert abs(near(1) - 3.5) < 1e-6",
        "assert near(1) > 5",
    ],
)
def test_an_object_that_lies_is_not_paid(runner, test):
    result = run(runner, LIAR, test, "f", "Fake", "near")

    assert result.status == "failed", result


def test_the_program_is_not_told_what_its_object_is_compared_with(runner):
    program = (
        "told = []\nclass Spy:\n    __eq__ = __lt__ = __gt__ = __sub__ = __rsub__ = lambda self, x: told.append(x)\n"
        "    __contains__ = __eq__\ndef f():\n    return Spy()\ndef g():\n    return told\n"
    )
    asks = ["f() == 42", "42 == f()", "f() < 42", "42 > f()", "f() - 42", "42 - f()", "42 in f()", "f() in [42]"]
    tries = "".join(f"try:\n    {ask}\nexcept Exception:\n    pass\n" for ask in asks)

    assert run(runner, program, f"{tries}assert g() == []", "f", "g").passed


# By name, the body of a function, and a test.
HOSTILE = {
    "endless generator": (
        "while True:\n        yield 1",
        "assert list(f()) == [1]",
    ),
    "generator that hangs": (
        "while True:\n        pass\n    yield",
        "assert list(f()) == [1]",
    ),
    "hang, caught": (
        "while True:\n        pass",
        "try:\n    f()\n    assert False\nexcept:\n    pass",
    ),
    "exit, caught": (
        "import os\n    os._exit(0)",
        "try:\n    f()\n    assert False\nexcept BaseException:\n    pass",
    ),
    "assertion": (
        "raise AssertionError",
        "assert f() == 1",
    ),
    "stop iteration": (
        "raise StopIteration",
        "assert [x for x in map(f, [()])] == [1]",
    ),
    "evil str": (
        "class E(ValueError):\n        def __str__(self):\n            while True:\n                pass\n    raise E",
        "try:\n    f()\nexcept ValueError as e:\n    said = e\nassert str(said) == 'x'",
    ),
    "str that raises": (
        "class E(ValueError):\n        def __str__(self):\n            raise self\n    raise E",
        "try:\n    f()\nexcept ValueError as e:\n    said = e\nassert str(said) == 'x'",
    ),
    "name of a type": (
        "raise type('a\\0b\\ud800', (ValueError,), {})",
        "assert f() == 1",
    ),
    "group": (
        "raise ExceptionGroup('g', [ValueError()])",
        "assert f() == 1",
    ),
    "length": (
        "class E:\n        __len__ = lambda s: 10**30\n    return E()",
        "assert len(f()) == 3",
    ),
    "index": (
        "class E:\n        __index__ = lambda s: E()\n    return E()",
        "assert [1, 2][f()] == 1",
    ),
    "big str": (
        "class E:\n        __str__ = lambda s: 'x' * 10**7\n    return E()",
        "assert str(f()) == 'x'",
    ),
    "iterates over itself": (
        "class E:\n        __iter__ = lambda s: s\n        __next__ = lambda s: s\n    return E()",
        "assert 3 in f()",
    ),
    "deep equality": (
        "class E:\n        __eq__ = lambda s, o: True\n    e = None\n    for _ in range(50000):\n"
        "        x = E()\n        x.e = e\n        e = x\n    return e",
        "assert f() == f()\nassert f() == 3",
    ),
    "class of its result": (
        "class E:\n        __class__ = int\n        __instancecheck__ = lambda *a: True\n    return E()",
        "assert f() + 1 == 4",
    ),
    "huge range": (
        "return range(10**18)",
        "assert list(f()) == [1]",
    ),
    "huge decimal": (
        "from decimal import Decimal\n    return Decimal('1E+999999')",
        "assert f() == 3",
    ),
    "long fraction": (
        "from fractions import Fraction\n    return Fraction(1 << 300000, 3)",
        "assert f() == 3",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_result_is_judged_and_not_passed(hurried, name):
    body, test = HOSTILE[name]
    program = f"import sys\nsys.setrecursionlimit(100_000)\ndef f(*_):\n    {body}\n"

    result = hurried.run(Job(program, (test,), (("f", "f"),)))

    assert result.judged, result
    assert not result.passed, result


THIEF = """
def f(g):
    found = []
    for path in PATHS:
        try:
            x = g
            for name in path.split("."):
                x = getattr(x, name)
        except AttributeError:
            continue
        if x == 42 or (isinstance(x, dict) and x.get("__name__") == "tests"):
            found.append(path)
    return found
PATHS = ["__globals__", "__code__", "__closure__", "__self__", "__dict__", "__class__.__init__.__globals__",
    "gi_frame.f_globals", "gi_frame.f_back.f_globals", "__func__.__globals__",
    "_secret"]
"""


@pytest.mark.parametrize(
    "given",
    ["lambda: 42", "A().method", "A()", "(n for n in [42])", "A", "functools.partial(A().method)", "io.StringIO()"],
)
def test_what_tests_hand_over_shows_nothing_of_the_tests(runner, given):
    setup = "class A:\n    _secret = 42\n    def method(self):\n        return 42\n"

    result = run(runner, THIEF, f"assert f({given}) == []", "f", setup=setup)

    assert result.passed, result


FORGER = """
import json, os
def ask(message):
    line = json.dumps(message).encode()
    os.write(3, len(line).to_bytes(4, "big") + line)
def f(g):
    ask(ASK)
    while True:
        pass
"""


@pytest.mark.parametrize(
    "ask",
    [
        {"ask": "get", "target": 0, "inputs": [["__globals__"], {"dict": []}]},
        {"ask": "set", "target": 0, "inputs": [["__code__", 1], {"dict": []}]},
        {"ask": "call", "target": 5, "inputs": [[], {"dict": []}]},
        {"ask": "call", "target": -1, "inputs": [[], {"dict": []}]},
        {"ask": "call", "target": "g", "inputs": [[], {"dict": []}]},
        {"ask": "eval", "target": 0, "inputs": [["1"], {"dict": []}]},
        {"ask": ["call"], "target": 0},
        {"ask": "call"},
        {"value": {"import": ["os", "system"]}},
        {"value": {"reduced": [{"import": ["os", "getpid"]}, {"tuple": []}]}},
        {"value": {"handed": 7}},
    ],
)
def test_forged_questions_end_the_program(runner, ask):
    result = run(runner, FORGER.replace("ASK", repr(ask)), "assert f(lambda: 42) == 42", "f")

    assert result.status in ("crashed", "timeout"), result


def test_a_program_cannot_flood_the_tests_through_what_they_hand_over(runner):
    program = "def f(keep):\n    while True:\n        keep('x' * 1_000_000)\n"

    assert run(runner, program, "seen = []\nf(seen.append)\nassert seen == [1]", "f").status == "overflow"


def test_what_tests_import_runs_in_the_programs_process(runner):
    program = "import os\ndef f(run):\n    return run('__import__(\"os\").getpid()') == os.getpid()\n"

    assert run(runner, program, "assert f(eval)", "f").passed


@pytest.mark.parametrize(
    "test",
    [
        "import threading\nassert f(threading.Lock()) is None",
        "import threading\ntry:\n    f(threading.Lock())\nexcept BaseException:\n    pass\nassert f(1) == 1",
        "v = []\nfor _ in range(500):\n    v = [v]\nassert f(v)",
        "assert f('x' * 10_000_000)",
    ],
)
def test_what_cannot_be_handed_over_is_unsupported(runner, test):
    assert run(runner, ECHO, test, "f").status == "unsupported"


def test_a_program_cannot_have_its_answer_count_as_unsupported(runner):
    program = "def f(x=None):\n    v = 1\n    for _ in range(190):\n        v = [v]\n    return [v, 'x' * 5_000_000]\n"

    result = run(runner, program, "assert f([f(), f()]) == 1", "f")

    assert result.status == "overflow", result
