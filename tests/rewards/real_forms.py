r"""Forms in which models and files write answers: for each kind, golds with right answers and with near misses."""

# ruff: noqa: E501, RUF001 (look-alike characters are what some of these are about, and a table reads best in rows)

from typing import NamedTuple


class Form(NamedTuple):
    gold: str
    right: tuple[str, ...]
    wrong: tuple[str, ...]


CLEANING = [
    Form(
        "18",
        (
            r"\,18\,", r"18\;", r"18\ ", r"\ 18", "18\\", r"~18~", r"18\quad", r"18\!", r"\;18\;.", r"18.\ ", r"18\\",
            r"{\,18}", r"$\,18\,$", r"\( 18 \)", r"\[18\]", "$$18$$", "$18$.", r"\displaystyle 18",
            r"\displaystyle{18}", r"\mathbf{18}", r"\boldsymbol{18}", r"\bm{18}", r"{\bf 18}", r"\mathsf{18}",
            r"\mathtt{18}", r"\large 18", r"\Large{18}", r"\color{red}{18}", r"\textcolor{blue}{18}",
            r"\left(18\right)", r"\left. 18 \right.", r"\underline{\underline{18}}", r"\framebox{18}", r"\text{18}",
            r"\text{ 18 }", r"\mbox{18}.", "**18**", "*18*", "__18__", "**18.**", "`18`", "“18”", "'18'", "18。",
            "１８", "18\u00a0", "\u200918", "18\u202f", "\ufeff18", "= 18", "=18", r"\approx 18", "≈18", r"\sim 18",
            "~18", "roughly 18", "around 18", "18 (approximately)", "+18", "18.0", "18.", "18,", "18;", r"\text{}18",
            r"\boxed{\,18\,}", r"$\boxed{18}$", "Final answer: 18", "The answer is: **18**", r"\textbf{18}\;",
            "\n18\n", r"\newline 18", r"18\text{.}", "**$18$**", r"\mathrm{18}", "<b>18</b>", r"\emph{18}",
        ),
        (
            r"1\,8", r"-\,18", "1.8", "**18 or 19**", r"18\;19", r"18\ 19", r"\text{18 or 19}", r"\text{not 18}",
            r"\mathbf{18}^2", "*18*2", "18!", "18 (not)", "-18", r"\approx 18.4", "18 (or 19)", "18?19", "18, 19",
            r"18 \pm 1", "> 18", r"\le 18", "less than 18", "at least 18", "17-18", r"18\,000", "18 squared",
            "18 hundred", "18 dozen", r"\text{180}", r"\color{red}{19}", r"\color{18}{19}", "**19**", "1８0",
        ),
    ),
    Form("-3", ("−3", "–3", "$-3$", r"-\,3", "－3", r"\,-3", "﹣3", r"\mathbf{-3}"), ("3", "--3", "- -3", "~3")),
    Form(
        "1080",
        (
            "1\u00a0080", "1\u202f080", "1\u2009080", r"1\ 080", r"1{,}080", r"1\,080", r"1,\!080", "1,080.",
            r"\text{1,080}", r"\$1,080", r"1{,}080\text{ km}", "1 080", r"1\;080", "１，０８０", "**1,080**",
            r"1,\,080", r"\mathrm{1{,}080}", "1,080.00", r"1,\;080",
        ),
        ("1,08", "1,0800", "1, 080", "10 80", "1.080", r"1\,08", "1,080,000", "1080,5", "1 08", "1,080 or 1"),
    ),
    Form(r"\frac{3}{4}", (r"\dfrac34", r"\tfrac{3}{4}", r"\displaystyle\frac{3}{4}", r"\mathbf{\frac{3}{4}}",
                          r"\left(\frac{3}{4}\right)", r"{3}/{4}", r"{3 \over 4}", "3⁄4", "¾", r"\cfrac{3}{4}",
                          r"\frac{\,3\,}{4}", r"\text{3/4}", r"\frac{\text{3}}{\text{4}}", r"\dfrac{3}{4}\;",
                          r"\frac{3}{4}\text{ cups}", r"\nicefrac{3}{4}"),
         (r"\frac{4}{3}", "0.7", r"{4 \over 3}", r"\frac{3}{4}^2", r"\frac{-3}{4}", "34", r"\frac{3}{4} x")),
]  # fmt: skip

MONEY_AND_UNITS = [
    Form(
        "18",
        (
            "$18 per day", "$18/day", "$18 / day", r"\$18\text{/day}", r"\$18 \text{ per day}", "18 dollars per day",
            "18 dollars/day", "$18 a day", "$18 each", "$18 every day", "$18 in total", "$18 total", "$18 profit",
            "$18 of profit", "$18 more", "$18 left", "$18 daily", r"\text{\$18}", r"\text{\$}18", r"\text{$18}",
            r"\text{18 dollars}", r"\textbf{18 dollars}", r"\mathrm{18\ dollars}", r"18~\text{dollars}", r"18\$",
            "18$", "USD 18", "18 USD", "US$18", r"\$18.00", "$18.00", r"18\,\text{cm}", "18 cm", "18cm", "18 eggs/day",
            r"18 \frac{\text{km}}{\text{h}}", "$18 (USD)", r"\mathbf{\$18}", r"\$ 18", "**$18**", "**$18 per day**",
            "18 (dollars)", "18 m/s", r"18\,\mathrm{m/s}", r"18 \text{ m}^2", "18 sq. ft.", "€18", "18 €", "£18",
            r"\text{18 eggs.}", "18 people", "$18 dollars", "18 duck eggs", r"\$18~\text{per night}",
            r"18^\circ\text{C}", "18 °C", r"18\ \text{hours}", "18 km/h", r"18\text{ft}", "Rs. 18", "18 sec", "18miles", "18th",
            "18 times", r"\text{Total} = 18", "Total cost: $18", "$18 an hour",
        ),
        (
            "$18 or $19", "$18 per day or $19", "$18 not $19", "$180", "$18/2", "$18 minus 2", "$18 + $2", "-$18",
            r"\$18\text{ thousand}", r"18\%", "18 percent", r"\$18\%", r"\text{3 apples}", r"\text{18 and 19}",
            r"\text{\$19}", "$18 million", "18 apples and 2 pears", "$18-$20", "$18 to $20", "$18 and 50 cents",
            "18/day + 1", "Not the answer: 18", "18 minus tax", "$18*2", "18 of 20", "$18 less than before plus 2", "18x/day", "18 dollars or 20",
        ),
    ),
    Form("3", (r"\text{3 apples}", r"\text{ 3 apples }", r"3\text{ apples}", r"\text{3}\text{ apples}", "3 apples",
               r"\mathrm{3\,apples}", r"\textit{3 apples}", "3 (apples)", r"3\;\text{red apples}",
               r"\text{3 apples.}", r"\text{3 kg}", r"3\,\text{kg}"),
         (r"\text{4 apples}", r"\text{3 apples and 4 pears}", r"\text{3 or 4}", r"\text{3 times 4}", r"\text{33}",
          "3 dozen", r"\text{3 dozen}", r"\text{3 apples, 4 pears}")),
    Form("70000", ("$70,000 profit", r"\$70{,}000 \text{ profit}", r"\$70,\!000", "70,000 dollars", "$70,000.00",
                   "70 thousand dollars", "$70 thousand", r"\text{\$70,000}", r"\text{\$70,000 profit}",
                   "$70,000 per year", "$70,000/year", "70.000 thousand", r"\$70\,000",
                   "$70,000 in profit", "Profit = $70,000"),
         ("$7,000 profit", "$70 profit", "$70,000 or $7", "$70,000 minus tax", "$70,00", "70 dollars",
          "$70,000 million")),
    Form("9 (apples)", ("9", "9 apples", "9 (apples)", r"9 \text{ apples}", "9 apple", r"\text{9 apples}", "9.0"),
         ("8", "9 pears", "9 (pears)", "-9", "9 apples and 1 pear", "apples", "(9, apples)")),
    Form("21 (kilometers)", ("21", "21 km", r"21 \text{ kilometers}", "21 (km)"), ("21 m", "21 miles", "12 km")),
    Form("5 (m)", ("5", "5 m", "5 meters"), ("5 cm", "5 s", "6 m")),
    Form("8 (red); 4 (blue)", ("8 red; 4 blue", "4 blue, 8 red", "8; 4", "8 (red), 4 (blue)"),
         ("8", "8 blue; 4 red", "4; 4", "12")),
    Form("1:3", ("1:3", "1 : 3"), ("3:1", "1", "1:4")),
]  # fmt: skip

ROOTS = [
    Form(r"\sqrt[3]{x-2}", ("(x-2)^{1/3}", r"(x-2)^{\frac{1}{3}}", r"(-2+x)^{1/3}", r"-\sqrt[3]{2-x}", "(x-2)^(1/3)"),
         ("(x-2)^{1/2}", "(x-3)^{1/3}", "(2-x)^{1/3}", r"\sqrt{x-2}", "(x-2)^3", "x^{1/3}-2")),
    Form("(x-2)^{1/3}", (r"\sqrt[3]{x-2}", r"\sqrt[3]{x - 2}"), (r"\sqrt[3]{x+2}", r"\sqrt[3]{2-x}")),
    Form(r"\sqrt{1/n}", (r"1/\sqrt n", r"\frac{1}{\sqrt{n}}", "n^{-1/2}", r"\frac{\sqrt n}{n}", r"\sqrt{\frac{1}{n}}"),
         (r"\sqrt n", r"\frac1n", r"-\frac{1}{\sqrt n}", "n^{-2}")),
    Form(r"\sqrt[3]{x^2}", ("x^{2/3}", r"(\sqrt[3]{x})^2", r"x^{\frac23}"), ("x^{3/2}", "x", r"\sqrt[3]{x}")),
    Form(r"\sqrt[5]{y+1}", ("(y+1)^{1/5}", "(1+y)^{0.2}"), ("(y+1)^5", "(y-1)^{1/5}", "y^{1/5}+1")),
    Form("-2", (r"\sqrt[3]{-8}", "(-8)^{1/3}", r"-\sqrt[3]{8}", "-8^{1/3}"), (r"\sqrt[3]{8}", "8^{1/3}")),
    Form(r"\sqrt{xy}", (r"\sqrt{x}\sqrt{y}", "(xy)^{1/2}", r"x^{1/2} y^{1/2}"), (r"\sqrt{x+y}", "xy")),
    Form(r"\frac{\sqrt{a}}{\sqrt{b}}", (r"\sqrt{\frac{a}{b}}", r"\sqrt{a/b}", r"\frac{\sqrt{ab}}{b}"),
         (r"\sqrt{\frac{b}{a}}", r"\frac{a}{b}")),
    Form("x", (r"\sqrt[3]{x^3}", "(x^3)^{1/3}", r"\sqrt[3]{x}^3"), (r"\sqrt{x^2}", r"\sqrt[4]{x^4}", "(x^2)^{1/2}")),
    Form(r"x^{-1/3}", (r"\frac{1}{\sqrt[3]{x}}", r"\sqrt[3]{\frac1x}", r"\sqrt[3]{1/x}"), (r"\sqrt[3]{x}", "-x^{1/3}")),
    Form(r"a\sqrt{b}", (r"\sqrt{b}a", "ab^{1/2}"), (r"\sqrt{a^2 b}", r"b\sqrt{a}", r"\sqrt{ab}")),
    Form("2i", (r"\sqrt{-4}", r"i\sqrt4", "2 i"), ("-2i", "2", r"-\sqrt{-4}")),
    Form(r"\ln(ab)", (r"\ln a + \ln b", r"\ln b+\ln a"), (r"\ln a \ln b", r"\ln(a+b)")),
    Form(r"\frac{x^{5/3}}{3}", (r"\frac{1}{3}x\sqrt[3]{x^2}", r"\frac{\sqrt[3]{x^5}}{3}"), (r"\frac{x^{3/5}}{3}",)),
]  # fmt: skip

ASSIGNED = [
    Form("(3,-1)", ("(x,y)=(3,-1)", r"(x, y) = \left(3, -1\right)", "x=3, y=-1", r"x = 3 \text{ and } y = -1",
                    r"x=3,\ y=-1", r"P = (3,-1)", r"\vec{v}=(3,-1)", r"(a,b)=(3,-1)", "y=-1, x=3",
                    r"\mathbf{v} = \langle 3,-1 \rangle", r"(x,y) \in \{(3,-1)\}", r"(x_1, x_2) = (3,-1)"),
         ("(x,y)=(-1,3)", "x=-1, y=3", "(y,x)=(3,-1)", "(x,y)=3", "(x,y)=(3,-1),(1,1)", "(x,y)=(3,-1,0)",
          "x=3", "y=3, x=-1", "(x,y)", "3,-1", "x=3,x=-1")),
    Form("(x,y)=(3,-1)", ("(3,-1)", "x=3, y=-1", "y=-1,x=3", "(y,x)=(-1,3)", "(x,y) = (3, -1)", r"x=3;\,y=-1"),
         ("(-1,3)", "x=-1,y=3", "(y,x)=(3,-1)", "x=3", "(a,b)=(3,-1)", r"\{3,-1\}", "(x,y)=(3,1)")),
    Form("x=3, y=-1", ("(3,-1)", "(x,y)=(3,-1)", "y=-1, x=3", "3, -1", r"x=3 \text{ and } y=-1"),
         ("-1, 3", "(-1,3)", "x=-1, y=3", "x=3", "a=3, b=-1")),
    Form(r"A=\begin{pmatrix}1&2\\3&4\end{pmatrix}",
         (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"A=\begin{bmatrix}1&2\\3&4\end{bmatrix}"),
         (r"B=\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}1&3\\2&4\end{pmatrix}", "A", "A=(1,2,3,4)")),
    Form(r"\begin{pmatrix}1\\2\end{pmatrix}",
         (r"\mathbf{v} = \begin{pmatrix}1\\2\end{pmatrix}", r"\vec{x}=\begin{bmatrix}1\\2\end{bmatrix}",
          r"A^{-1} = \begin{pmatrix}1\\2\end{pmatrix}", r"\overrightarrow{AB} = \begin{pmatrix}1\\2\end{pmatrix}"),
         (r"\mathbf{v} = \begin{pmatrix}2\\1\end{pmatrix}", r"v = \begin{pmatrix}1&2\end{pmatrix}")),
    Form(r"\{1,2\}", (r"S=\{1,2\}", r"S = \{2, 1\}", "x=1,2", r"x \in \{1,2\}", r"x=1 \text{ or } x=2"),
         (r"S=\{1,3\}", r"S=\{1\}", "S=(1,2)", r"x \in \{1\}")),
    Form("(1,2),(3,4)", ("(x,y)=(1,2),(3,4)", r"(x,y) = (1,2) \text{ or } (3,4)", "(x,y)=(3,4),(x,y)=(1,2)",
                         r"(x,y)\in\{(1,2),(3,4)\}", r"\{(1,2),(3,4)\}"),
         ("(x,y)=(1,2)", "(x,y)=(2,1),(4,3)", "(x,y)=(1,4),(3,2)")),
    Form("(1,2)", ("I=(1,2)", r"1<x<2", r"x\in(1,2)"), ("I=[1,2)", "I=(2,1)", "x=1,x=2")),
]  # fmt: skip

MATRICES = [
    Form(r"\begin{bmatrix}1&2\\3&4\end{bmatrix}",
         (r"\left[\begin{array}{cc}1&2\\3&4\end{array}\right]", r"\left(\begin{array}{rr}1 & 2\\ 3 & 4\end{array}\right)",
          r"\begin{bmatrix}1&2\\[2pt]3&4\end{bmatrix}", r"\begin{bmatrix}1&2\\[0.5em] 3&4\\\end{bmatrix}",
          r"\left[ {\begin{array}{cc} 1 & 2 \\ 3 & 4 \end{array}} \right]", r"\begin{matrix}1&2\\3&4\end{matrix}",
          r"\bigl(\begin{smallmatrix}1&2\\3&4\end{smallmatrix}\bigr)", r"\begin{array}{c c}1&2\\3&4\end{array}",
          r"\left[\begin{matrix}1&2\\3&4\end{matrix}\right]", r"\frac12\begin{bmatrix}2&4\\6&8\end{bmatrix}",
          r"2\begin{pmatrix}\frac12&1\\ \frac32&2\end{pmatrix}", r"-\begin{pmatrix}-1&-2\\-3&-4\end{pmatrix}",
          r"\frac{1}{2} \cdot \begin{pmatrix}2&4\\6&8\end{pmatrix}", r"\begin{pmatrix} 1&2\cr 3&4 \end{pmatrix}",
          r"\begin{bmatrix}1&2\\3&4\end{bmatrix}.", r"[[1,2],[3,4]]", r"\begin{pmatrix}{1}&{2}\\{3}&{4}\end{pmatrix}",
          r"\begin{pmatrix}1&2\\\\3&4\end{pmatrix}", r"\left[\begin{array}{l|l}1&2\\ \hline 3&4\end{array}\right]",
          r"\begin{bmatrix}1&2\tabularnewline 3&4\end{bmatrix}"),
         (r"\left[\begin{array}{cc}1&3\\2&4\end{array}\right]", r"\left|\begin{array}{cc}1&2\\3&4\end{array}\right|",
          r"\begin{vmatrix}1&2\\3&4\end{vmatrix}", r"2\begin{bmatrix}1&2\\3&4\end{bmatrix}", "-2",
          r"\begin{bmatrix}1&2&3&4\end{bmatrix}", r"\begin{bmatrix}1\\2\\3\\4\end{bmatrix}", "(1,2,3,4)",
          r"-\begin{bmatrix}1&2\\3&4\end{bmatrix}", r"\frac12\begin{bmatrix}1&2\\3&4\end{bmatrix}", "[[1,3],[2,4]]",
          r"\begin{bmatrix}1&2\\3&4\end{bmatrix}^2", r"\begin{bmatrix}1&2\\[3pt]4\end{bmatrix}", "[1,2,3,4]",
          r"\begin{bmatrix}1&2\\3&4\end{bmatrix}+\begin{bmatrix}1&2\\3&4\end{bmatrix}")),
    Form(r"\frac{1}{5}\begin{pmatrix}1&2\\3&4\end{pmatrix}",
         (r"\begin{pmatrix}\frac15&\frac25\\ \frac35&\frac45\end{pmatrix}", r"\begin{pmatrix}0.2&0.4\\0.6&0.8\end{pmatrix}",
          r"\frac15\left[\begin{array}{cc}1&2\\3&4\end{array}\right]", r"0.2\begin{pmatrix}1&2\\3&4\end{pmatrix}"),
         (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"5\begin{pmatrix}1&2\\3&4\end{pmatrix}")),
    Form(r"\begin{pmatrix}x+1\\2\end{pmatrix}", (r"\left(\begin{array}{c}1+x\\2\end{array}\right)",),
         (r"\begin{pmatrix}x-1\\2\end{pmatrix}", r"\binom{x+1}{2}")),
]  # fmt: skip

SETS = [
    Form(r"(2,\infty)", (r"\{x \mid x > 2\}", r"\{x : x>2\}", r"\{x | x > 2\}", r"\{ x \in \mathbb{R} \mid x > 2 \}",
                         r"\{x\in\mathbb R: x>2\}", "x>2", "2<x", r"\left\{x \,\middle|\, x>2\right\}", r"\{y : y > 2\}",
                         r"x \in (2, \infty)", r"\{x \vert 2 < x\}", r"2 < x < \infty", r"(2,+\infty)"),
         (r"\{x \mid x \ge 2\}", r"\{x : x<2\}", r"\{x\in\mathbb{Z} : x>2\}", r"\{x : x>3\}", r"\{2\}", "x>2, x<5",
          r"\{x \mid x\}", r"[2,\infty)", r"\{x \in \mathbb{N} \mid x > 2\}")),
    Form("[-1,3]", (r"\{x \mid -1 \le x \le 3\}", r"-1\leq x\leq 3", r"\{x:3\ge x\ge-1\}",
                    r"x \ge -1 \text{ and } x \le 3", r"\{x \mid x\ge-1 \text{ and } x\le 3\}"),
         (r"\{x \mid -1 < x \le 3\}", r"\{-1,3\}", r"x \ge -1 \text{ or } x \le 3", r"\{x\mid -1\le x\le 4\}")),
    Form(r"x \ne 2", (r"(-\infty,2)\cup(2,\infty)", r"\{x \mid x \neq 2\}", r"x<2 \text{ or } x>2", r"x\not=2",
                      r"\mathbb{R}\setminus\{2\}", r"\mathbb{R} \setminus \{2\}", r"\mathbb{R} - \{2\}",
                      r"x \in \mathbb{R}\setminus\{2\}"),
         ("x=2", r"x\ne 3", r"(-\infty,2)\cup[2,\infty)", r"\mathbb{R}", r"\mathbb{R}\setminus\{3\}", r"\{2\}")),
    Form(r"(-\infty,1)\cup(3,\infty)", (r"\{x \mid x<1 \text{ or } x>3\}", r"x<1 \text{ or } x>3",
                                        r"\{x: x<1\} \cup \{x: x>3\}", r"x \in (-\infty,1) \cup (3,\infty)"),
         (r"\{x \mid x<1 \text{ and } x>3\}", "(1,3)", r"x\le1 \text{ or } x>3", "x<1", r"\{x : 1<x<3\}")),
    Form(r"(-\infty,\infty)", (r"\mathbb{R}", r"\text{all real numbers}", r"x\in\mathbb{R}", r"\{x \mid x \in \mathbb{R}\}",
                               r"\Bbb R", "ℝ", r"-\infty<x<\infty", "all reals"),
         (r"\mathbb{Z}", r"\text{all integers}", r"(0,\infty)", r"\emptyset", r"\mathbb{C}", "R")),
    Form(r"\emptyset", (r"\varnothing", r"\{\}", r"\{ \}", "∅", r"\text{the empty set}", r"\text{no solution}",
                        r"\text{no real solutions}", r"\left\{\right\}", r"x \in \emptyset", r"\{\,\}", r"S=\varnothing",
                        "no solutions", r"\text{empty set}"),
         (r"\{\emptyset\}", r"\{0\}", "0", r"\text{one solution}", r"\mathbb{R}", r"\{\varnothing\}", "()", "2")),
    Form(r"\varnothing", (r"\emptyset", r"\{\}"), (r"\{1\}", "0")),
    Form(r"\text{no solution}", (r"\emptyset", r"\varnothing", "No solutions."), ("0", "no", "solution")),
]  # fmt: skip

REPEATING = [
    Form(r"\frac13", (r"0.\overline{3}", r"0.\bar{3}", r"0.\dot{3}", r"0.\overline3", r".\overline{3}", r"0.3\overline{3}",
                      r"33.\overline{3}\%", "0.(3)", r"0.\overline{33}", r"0.\overline{3}.",
                      r"$0.\overline{3}$", r"0.33\overline{3}", r"x = 0.\overline{3}"),
         ("0.3", "0.33", r"0.\overline{4}", r"3.\overline{3}", r"0.\overline{03}", r"0.0\overline{3}", r"0.\overline{34}",
          "0.333", r"-0.\overline{3}")),
    Form(r"0.\overline{3}", (r"\frac{1}{3}", "1/3", r"\dfrac39", r"0.\overline{3}"), ("0.3", "0.33333", "3", r"\frac{3}{10}")),
    Form(r"0.3\overline{6}", (r"\frac{11}{30}", "11/30"), ("0.36", r"0.\overline{36}", r"\frac{4}{11}")),
    Form(r"\frac{4}{11}", (r"0.\overline{36}", r"0.\dot{3}\dot{6}", r"0.36\overline{36}"), (r"0.3\overline{6}", "0.36")),
    Form(r"\frac17", (r"0.\overline{142857}", r"0.\dot{1}4285\dot{7}"), ("0.142857", r"0.\overline{14285}")),
    Form("1", (r"0.\overline{9}", r"0.\bar 9"), ("0.9", "0.99")),
    Form(r"2\frac{5}{11}", (r"2.\overline{45}", r"\frac{27}{11}"), ("2.45", r"2.4\overline{5}")),
    Form(r"-\frac{2}{3}", (r"-0.\overline{6}", r"-0.6\overline{6}"), (r"0.\overline{6}", "-0.6", "-0.67")),
    Form("20", (r"20.\overline{0}",), (r"20.\overline{1}", r"2.\overline{0}")),
    Form(r"\left(\frac13, 2\right)", (r"(0.\overline{3}, 2)",), ("(0.3, 2)",)),
]  # fmt: skip

CHOICES = [
    Form("B", ("(B) 12", r"(B)\ 12", r"\text{B}", "B. foo", "B) 12", "B: 12", r"\textbf{(B) }12", r"\textbf{(B)}\ 12",
               r"\text{(B)} 12", "(B)12", "[B]", "option B", "Option (B)", "choice B", "b", "(b)", "B.", "**B**",
               r"\mathbf{B}", r"\text{B. the dog}", r"\mathrm{(B)}\ 12", r"\textbf{B}", "B) the red one", "**B. foo**",
               r"\text{(B) } \frac{1}{2}", "(B): 12", r"\boxed{B}", "Answer: B", r"\text{Option B}", r"\textbf{B)} 12"),
         ("A", "(A) B", "B and C", "A or B", "(A)(B)", "(B) or (C)", "(B), (C)", "BC", "Bob", "(B) 12 (C) 13",
          "not B", r"\text{(C)} 12", "12", "B. foo or C. bar", "AB", "option A or B", "(A) 12", "B, C", "2B",
          "both (B) and (C)", "B) 12 or C) 13")),
    Form(r"\textbf{(B)}\ 12", ("B", "(B)", "12", "(B) 12", r"\text{(B) } 12", r"\text{B}", "B. 12", "B) 12.0",
                               r"\textbf{(B) }12", "$12$"),
         ("(B) 13", "(C) 12", "C", "13", "(A)", "B or C", "12 or 13", "-12", "(B)(C)")),
    Form(r"\text{(D) } \frac{1}{2}", ("D", "0.5", r"\frac12", "(D)", r"(D) 1/2"), ("2", "E", r"(E) \frac12", "(D) 2")),
    Form(r"(C)", ("C", r"\text{C}", "(C) 7", "c", r"\textbf{(C)}"), ("D", "(D) C", "CD")),
]  # fmt: skip

KINDS = {
    "cleaning": CLEANING,
    "money and units": MONEY_AND_UNITS,
    "roots": ROOTS,
    "assigned": ASSIGNED,
    "matrices": MATRICES,
    "sets": SETS,
    "repeating decimals": REPEATING,
    "choices": CHOICES,
}
