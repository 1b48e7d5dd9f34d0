r"""Forms of numbers in words, times of day, angles, layouts and intervals, with near misses, as in `real_forms`."""

# ruff: noqa: E501 (as there)

from real_forms import Form

WORDS = [
    Form(
        "5",
        ("five", "Five", "FIVE", r"\text{five}", r"\text{Five apples}", "five apples", "five dollars", "five.", "**five**",
         r"\text{five} \text{ apples}", "The answer is five"),
        ("six", "fifty", "fifteen", "five or six", "five, six", "five; six", "fivefold", "twenty-five", "five hundred",
         "not five", "half of five", "five and six", "five and a half", "five percent", "minus five", "five five", "fives",
         "five times two", "five-sixths", "five point one", "one five", "fifth", "between five and six", "five to six"),
    ),
    Form("25", ("twenty-five", "twenty five", "Twenty-Five years", r"\text{twenty-five}", "25 (twenty-five)"),
         ("twenty", "five", "twenty-six", "twenty, five", "two five", "twentyfive and one", "five twenty")),
    Form("342", ("three hundred forty-two", "three hundred and forty-two", "three hundred and forty two apples"),
         ("three hundred forty", "three hundred, forty-two hundred", "three forty-two")),
    Form("1500", ("fifteen hundred", "one thousand five hundred", "one thousand, five hundred", "a thousand five hundred"),
         ("fifteen thousand", "one thousand or five hundred", "five hundred one thousand")),
    Form("7200001", ("seven million two hundred thousand and one",), ("seven million two hundred thousand", "two hundred thousand seven million and one")),
    Form("-3", ("negative three", "minus three"), ("three", "negative negative three", "minus four")),
    Form("0.5", ("one half", "a half", "half", "one-half", "five tenths", "5 tenths"), ("two halves", "halfway", "half past", "half and half", "half a dozen")),
    Form("500000", ("half a million", "half of a million people", "five hundred thousand"), ("half", "half million or so", "half a billion")),
    Form(r"\frac{2}{3}", ("two thirds", "two-thirds", "2 thirds"), ("three halves", "two", "third")),
    Form("2.5", ("two and a half", "2 and a half", "two and one half", "two point five", "two-and-a-half"), ("two and a third", "two point five five", "half")),
    Form("3", ("three",), ("3 quarters", "3 hundredths", "three tenths", "3 thirds", "thirty", "third")),
    Form("five", ("5", "Five", "five", "5.0"), ("6", "fifty", "fiver")),
]  # fmt: skip

TIMES = [
    Form("3:00", ("3:00 p.m.", "3:00 pm", "3:00PM", r"3:00 \text{ PM}", "3 p.m.", "3 PM", "3 o'clock", "03:00", "3:00:00", "3:00 in the afternoon", "at 3:00", "3 a.m."),
         ("3:30", "4:00", "13:00", "15:00", "3:00:30", "30:00", "3 hours", "three", "12:00", "3:00 or 4:00", "0:03")),
    Form("3:00 PM", ("3:00 p.m.", "3 pm", "3:00", "15:00", r"3\text{ p.m.}", r"3:00 \text{ P.M.}", "3 in the afternoon"),
         ("3:00 AM", "3 a.m.", "4:00 pm", "3:15 pm", "03:00 in the morning", "300 PM")),
    Form(r"10:15 \text{ a.m.}", ("10:15", "10:15 AM", "10:15 a.m.", "10:15AM", "10:15 in the morning"),
         ("10:15 pm", "10:51", "22:15", "10:15:01 am", "10:15 at night")),
    Form("15:00", ("15:00", "3 pm", "3:00 p.m."), ("3:00", "3 am", "5:00", "15:30")),
    Form("09:30", ("9:30", "9:30 AM", "09:30:00"), ("9:03", "19:30", "9:30:30")),
    Form("12:00", ("noon", "12 noon", "12:00 PM", "midnight"), ("1:00", "24", "11:59 am")),
    Form("2:5", ("2:5", "2 : 5", r"\frac{2}{5}"), ("5:2", "2:50", "2:05 pm")),
    Form("4 p.m.", ("4 p.m.", "4 PM", "4:00 pm", "16:00"), ("4 a.m.", "5 p.m.", "4:30 pm")),
]  # fmt: skip

ANGLES_AND_LOGARITHMS = [
    Form(r"\frac{1}{2}", (r"\sin 30^\circ", r"\sin(30^\circ)", r"\cos 60^\circ", r"\sin\left(30^{\circ}\right)", r"\sin{30^\circ}", "sin 30°", r"\sin 30\degree", r"\cos^2 45^\circ"),
         (r"\sin 30", r"\sin 60^\circ", r"\cos 30^\circ", r"30^\circ", r"\arcsin 30^\circ")),
    Form(r"\sin 20^\circ", (r"\cos 70^\circ", r"\sin 160^\circ", "sin 20°", r"\sin \frac{\pi}{9}"), (r"\cos 20^\circ", r"\sin 20", r"\sin 21^\circ", r"20^\circ")),
    Form(r"2\cos 40^\circ", (r"2\sin 50^\circ", r"2 \cos(40^\circ)", r"\cos 40^\circ + \cos 320^\circ"), (r"\cos 40^\circ", r"2\cos 40")),
    Form(r"\tan 15^\circ", (r"2-\sqrt3", r"\frac{1}{\tan 75^\circ}"), (r"2+\sqrt{3}", r"\tan 15")),
    Form(r"\sin(x+60^\circ)", (r"\frac12 \sin x + \frac{\sqrt3}{2}\cos x", r"\sin(x + \frac{\pi}{3})"), (r"\sin(x+60)", r"\sin(x-60^\circ)")),
    Form(r"x = 30^\circ + 180^\circ n", (r"30^\circ + 180^\circ n", r"x=180^\circ n + 30^\circ", "30+180n"), (r"30^\circ+90^\circ n", r"30^\circ + 180 m")),
    Form(r"\ln 2", (r"\log_e 2", r"\log_{e} 2", r"\log_e(2)", r"\log_{e}{2}"), (r"\log_2 e", r"\log_{10} 2", r"\log_e 3")),
    Form(r"\log_e 5", (r"\ln 5",), (r"\ln 6", "5", r"\log_5 e")),
    Form("3", (r"\log_e e^3", r"\lg 1000", r"\lg{1000}"), (r"\lg 100", r"\log_e 3")),
    Form(r"\binom{10}{3}", ("120", r"{10 \choose 3}", r"_{10}C_3", r"C_{10}^{3}", r"{}^{10}C_{3}"), ("720", r"{10 \choose 4}", "C_3")),
]  # fmt: skip

LAYOUTS = [
    Form(
        "18",
        (
            r"\hfill 18", r"\ensuremath{18}", r"18\hspace*{1em}", r"18\vspace{2pt}", r"18\>", r"18\/", r"18\strut",
            r"18\notag", r"18\tag{1}", r"18\label{eq}", r"\mathord{18}", r"18 \quad\blacksquare", r"18 \square", "18 ✓",
            "✅ 18", "→ 18", r"\Rightarrow 18", r"\implies 18", "∴ 18", r"\colorbox{yellow}{18}", "<u>18</u>",
            "<span>18</span>", r"\begin{equation}18\end{equation}", r"\begin{align*}18\end{align*}", "&18",
            r"\begin{aligned}x &= 9 + 9\\ &= 18\end{aligned}", "Therefore, 18", "So 18", "The total is 18", "Ans: 18",
            "a total of 18 apples", r"18 \$/hour", r"18 \Omega", r"18 \mathrm{N}", "18 J",
        ),
        (
            r"1\tag{1}8", r"18\tag{1}9", r"\cancel{18}", r"18 \Rightarrow 19", r"\begin{align*}18\\19\end{align*}", "18M", "$18M", "18k",
            "$18K", "18 ✗ 19", "Therefore not 18", "The total is not 18", r"\begin{aligned}x &= 9\\ &= 18\end{aligned}", "18 hundredths",
        ),
    ),
    Form("(2,5)", (r"x=2 \quad y=5", r"x=2\\y=5", r"\begin{aligned}x&=2\\y&=5\end{aligned}", r"\begin{cases} x=2, \\ y=5 \end{cases}",
                   r"\begin{array}{l} x = 2 \\ y = 5 \end{array}"),
         (r"x=5 \quad y=2", r"x=5\\y=2", r"\begin{aligned}x&=2\\x&=5\end{aligned}", "x=2y=5")),
    Form("f(x)=x^2+1", ("y=x^2+1", "x^2+1", "f(x)=1+x^2"), ("y=x^2-1", "x=y^2+1", "g(x)=x^2+1")),
    Form(r"\begin{pmatrix}1\\2\\3\end{pmatrix}", ("(1,2,3)^T", r"[1,2,3]^{\top}", r"\begin{pmatrix}1&2&3\end{pmatrix}^T", r"\begin{bmatrix*}[r]1\\2\\3\end{bmatrix*}", r"\begin{pmatrix}1\\*2\\*3\end{pmatrix}"),
         ("(3,2,1)^T", "(1,2,3)^2", r"\begin{pmatrix}1\\2\\3\end{pmatrix}^T", r"\begin{pmatrix}1&2&3\end{pmatrix}")),
    Form(r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", (r"\begin{pmatrix}1&3\\2&4\end{pmatrix}^T", r"\begin{bmatrix}1&3\\2&4\end{bmatrix}^{\intercal}"),
         (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}^T",)),
    Form("C", ("answer (C)", "Answer C", "**C)** 5"), ("answer (D)", "answers C and D")),
    Form(r"\varnothing", (r"\O", "Ø"), ("0", "O")),
    Form(r"\text{DNE}", ("does not exist", r"\text{Does not exist.}"), ("exists", "0")),
    Form(r"\infty", (r"\text{Infinity}", "Infinity"), (r"-\text{Infinity}",)),
]  # fmt: skip

INTERVALS = [
    Form("(0,5]", ("]0,5]", "]0;5]", r"x \in ]0,5]", "0<x≤5"), ("]0,5[", "[0,5]", "]5,0]", "[0,5[")),
    Form(r"(-\infty,1)\cup(2,\infty)", (r"]-\infty,1[\cup]2,\infty[", r"]-\infty;1[ \cup ]2;+\infty["), (r"]-\infty,1]\cup]2,\infty[",)),
    Form(r"[1,2)\cup(2,4]", (r"1\le x\le4, x\ne2", r"1 \leq x \leq 4 \text{ and } x \neq 2", r"[1,4]\setminus\{2\}", r"[1,4]-\{2\}", r"[1,4] \backslash \{2\}", r"x \ne 2, 1 \le x \le 4"),
         (r"[1,4]\setminus\{3\}", r"1\le x\le4, x\ne3", "[1,4]", r"1\le x\le4, y\ne2", r"(1,4)\setminus\{2\}", r"[1,4]\setminus\{2,3\}")),
    Form("(1,4]", (r"[1,4]\setminus\{1\}", r"1\le x \le 4, x \ne 1", r"[1,4] \setminus \{1, 7\}"), (r"[1,4]\setminus\{4\}",)),
    Form(r"\mathbb{R}\setminus\{0,1\}", (r"x\ne0,1", r"\text{all real numbers except 0 and 1}", r"x\notin\{0,1\}", r"x \ne 1 \text{ and } x \ne 0", r"\mathbb{R} - \{1, 0\}"),
         (r"x\ne0", r"x\notin\{0,2\}", r"x \in \{0,1\}", r"x\ne0, y\ne1")),
    Form(r"(2,3)\cup(3,\infty)", (r"x>2, x\ne3", r"x > 2 \text{ and } x \ne 3", r"(2,\infty)\setminus\{3\}"), (r"x>2", r"x>3, x\ne2")),
    Form(r"\{-1,0,1\}", (r"x_1=-1,x_2=0,x_3=1", "x_1=1, x_2=-1, x_3=0"), ("x_1=-1,x_2=0", "x_1=-1,y_2=0,x_3=1", "x=-1,y=0,z=1")),
]  # fmt: skip

WRITTEN = {
    "numbers in words": WORDS,
    "times of day": TIMES,
    "angles and logarithms": ANGLES_AND_LOGARITHMS,
    "layouts": LAYOUTS,
    "more intervals": INTERVALS,
}
