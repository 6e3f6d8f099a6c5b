"""Texts that tokenisers are known to part on: case, accents, symbols, full-width forms, controls, very long words.

Each is its own sentence; what an editor would not show is written as an escape.
"""

ENGLISH = [
    "The lighthouse keeper counted forty-two steps, twice, before he lit the lamp.",
    "Her naïve fiancé ordered a crème brûlée at the café in São Paulo.",
    "ÉTUDE No. 5 in F♯ minor isn't as hard as it LOOKS!",
    "Visit https://example.org/a_b?x=1&y=%20#top or write to someone@example.org.",
    "It cost $1,299.99 (about €1.150,00), i.e. 12.5% less than in 1998.",
    "Don't say you're 'sorry'; say: \"I'll mend it by 5 o'clock.\"",
    "state-of-the-art / read-only / C++ / a_b_c / x^2 + y^2 = r^2",
    "Unbelievably, the unhappiest unicyclist outpaced the happiest motorcyclist.",
    "Ein Straßenfest in Zürich: GROSS, groß, größer, am größten.",
    "İstanbul, Iğdır and ΟΔΟΣ lower their letters in ways of their own.",
    "Привет, мир! Γειά σου, κόσμε. नमस्ते दुनिया।",
    "Water is H2O, not H₂O² — nor is ½ of 1¼ quite ⅝.",
    "Waiting… done 👍🏽 (see the 🏳️‍🌈 and the family 👨‍👩‍👧)",
    "great!!!??? ok😀fine ☕tea→coffee ©2021 brand™ 25°C ±3µm",
    "tab\tand\nnew line\r\nand   several    blanks   ",
    "MiXeD CaSe WoRdS aNd ABBREVIATIONS like NASA, U.S.A. and PhDs",
    "0 00 000 1234567890 3.14159 1e-10 0x1F 10:30 2024-02-29",
    "“curly quotes”, ‘single ones’, «guillemets» – dashes — and ellipses…",
    "e\u0301 and \u00e9 look alike; so do \ufb01 and fi, and A\u030a, \u00c5 and \u212b.",
    "[MASK] is no word here, nor are [SEP] and <mask> or [mask].",
]

CHINESE = [
    "今天天气很好，我们去公园散步吧。",
    "北京大学成立于１８９８年，是中国近代第一所国立大学！",
    "他说：“明天早上八点半，在图书馆门口见面，好吗？”",
    "這本書的作者是臺灣人，書裡寫了許多關於茶葉的故事。",
    "新款iPhone15售价￥5999元，比去年便宜了10.5%。",
    "ＰｙＴｏｒｃｈ和ＰａｄｄｌｅＰａｄｄｌｅ都是深度学习框架（ＡＩ）。",
    "我喜欢吃苹果🍎、香蕉🍌和葡萄🍇～",
    "第①章　绪论：研究背景与意义……",
    "網址是http://例子.中国/路径，電話是021-8888-6666。",
    "生僻字：𠮷野家、龘、㐂，以及兼容字“凉”“﨑”。",
    "日本語のカタカナとひらがな、한국어 문장도 섞여 있다.",
    "温度是25℃，面积为600m²，误差±0.5‰。",
    "零〇年代，《红楼梦》·第一回",
    "你好,世界!（半角标点,混用）",
]

AWKWARD = [
    "",
    "   \t ",
    "a",
    "的",
    "?",
    "a\u200bb c\u00add e\u00a0f g\u3000h",
    "nul\x00 bell\x07 escape\x1b delete\x7f next\x85 line\u2028 paragraph\u2029 end",
    "replacement \ufffd and byte order mark \ufeff and private \ue000",
    "x" * 100,
    "x" * 101,
    "unbreakable" * 12,
    "好" * 120,
    "." * 40,
    "a" + "\u0301" * 5 + "b",
    "-".join(["ab"] * 30),
]

PAIRS = [
    ("Who lit the lamp?", "The lighthouse keeper lit it at forty-two minutes past nine, before the storm began."),
    ("The lighthouse keeper lit it at forty-two minutes past nine, before the storm began.", "Who lit the lamp?"),
    ("茶葉的故事是誰寫的？", "這本書的作者是臺灣人，書裡寫了許多關於茶葉的故事。"),
    ("北京大学成立于哪一年？", "It was founded in 1898，当时叫京师大学堂。"),
    ("one two three four five six seven", "eight nine ten eleven twelve thirteen fourteen"),
    ("one two three four five six", "eight nine ten eleven twelve thirteen fourteen"),
    ("今天天气很好我们去公园", "昨天天气很好我们去公园"),
    ("Only a first text?", ""),
    ("", "Only a second text?"),
    ("Is this ok😀fine?", "They read 600m² there."),
]

SINGLES = ENGLISH + CHINESE + AWKWARD
