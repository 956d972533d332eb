"""Fixed phrases of time and place, and the small closed tables.

A row is `tenses | English | German | Italian | Chinese`. Words of two languages correspond where they carry the same
digits after the colon; without a colon, a word's digit is its position.
Tenses: p past, r present, f future; 1 marks what only stands first in the sentence.
"""

TIMES = """
prf | today | heute | oggi | 今天
p | yesterday | gestern | ieri | 昨天
f | tomorrow | morgen | domani | 明天
r | every morning | jeden Morgen | ogni mattina | 每天 早上
r | every Saturday | jeden Samstag | ogni sabato | 每个 星期六
r | every day | jeden Tag | ogni giorno | 每天:12
r | in:1 the:1 evening:2 | am Abend | di sera | 晚上:2
p | last week | letzte Woche | la:2 settimana:2 scorsa:1 | 上周:12
p | last month | letzten Monat | il:2 mese:2 scorso:1 | 上个:1 月:2
p | last summer | letzten Sommer | l'estate:2 scorsa:1 | 去年:1 夏天:2
p | last winter | letzten Winter | l'inverno:2 scorso:1 | 去年:1 冬天:2
f | next week | nächste Woche | la:2 settimana:2 prossima:1 | 下周:12
f | next year | nächstes Jahr | l'anno:2 prossimo:1 | 明年:12
f | next Thursday | nächsten Donnerstag | giovedì:2 prossimo:1 | 下个:1 星期四:2
p | two years ago | vor:3 zwei:1 Jahren:2 | due anni fa | 两 年 前
p | three months ago | vor:3 drei:1 Monaten:2 | tre mesi fa | 三个 月 前
p | twenty minutes ago | vor:3 zwanzig:1 Minuten:2 | venti minuti fa | 二十 分钟 前
prf | this afternoon | heute:1 Nachmittag:2 | questo pomeriggio | 今天 下午
f | tonight | heute:1 Abend:1 | stasera | 今晚
r | at:1 the:1 moment:2 | im Moment | al momento | 现在:12
pf | on Wednesday | am Mittwoch | mercoledì:12 | 星期三:12
pf | on Friday | am Freitag | venerdì:12 | 星期五:12
prf | after lunch | nach:1 dem:2 Mittagessen:2 | dopo pranzo | 午饭:2 后:1
prf | before breakfast | vor:1 dem:2 Frühstück:2 | prima:1 di:1 colazione:2 | 早饭:2 前:1
prf | during the holidays | während der Ferien | durante le vacanze | 假期:23 期间:1
pf | in September | im September | a settembre | 在 九月
pf | in January | im Januar | a gennaio | 在 一月
r1 | sometimes | manchmal | a:1 volte:1 | 有时
r1 | usually | normalerweise | di:1 solito:1 | 通常
p1 | recently | kürzlich | di:1 recente:1 | 最近
pf | at midnight | um Mitternacht | a mezzanotte | 在 午夜
"""

# The first column says where: i inside or close by, o outside, t a whole town or country.
PLACES = """
o | in:1 the:1 garden:2 | im Garten | in giardino | 在 花园 里:1
i | in the kitchen | in der Küche | in:12 cucina:3 | 在:1 厨房:3 里:1
t | at:1 the:2 university:3 | an der Universität | all'università:123 | 在:1 大学:3
i | in:1 the:1 classroom:2 | im Klassenzimmer | in aula | 在 教室 里:1
i | in:1 the:1 office:2 | im Büro | in ufficio | 在 办公室 里:1
t | in:1 the:1 village:2 | im Dorf | nel villaggio | 在 村子 里:1
o | in:1 the:1 forest:2 | im Wald | nel bosco | 在 森林 里:1
i | on the balcony | auf dem Balkon | sul:12 balcone:3 | 在:1 阳台:3 上:1
i | in:1 the:1 basement:2 | im Keller | in cantina | 在 地下室 里:1
i | in:1 the:1 laboratory:2 | im Labor | in laboratorio | 在 实验室 里:1
t | at:1 the:1 airport:2 | am Flughafen | all'aeroporto:12 | 在 机场
i | in:1 the:1 hospital:2 | im Krankenhaus | in ospedale | 在 医院 里:1
t | in Berlin | in Berlin | a Berlino | 在 柏林
t | in Shanghai | in Shanghai | a Shanghai | 在 上海
t | in Vienna | in Wien | a Vienna | 在 维也纳
t | in Germany | in Deutschland | in Germania | 在 德国
t | in Italy | in Italien | in Italia | 在 意大利
o | at the market | auf dem Markt | al:12 mercato:3 | 在:1 市场:3 上:1
o | at:1 the:1 beach:2 | am Strand | in spiaggia | 在 海滩 上:1
t | on the island | auf der Insel | sull'isola:123 | 在:1 岛:3 上:1
i | in the library | in der Bibliothek | in:12 biblioteca:3 | 在:1 图书馆:3 里:1
o | in the mountains | in den Bergen | in:12 montagna:3 | 在:1 山:3 里:1
"""

# English | German | Italian masculine feminine | Chinese (before the measure word)
QUANTITIES = """
two | zwei | due due | 两
three | drei | tre tre | 三
four | vier | quattro quattro | 四
five | fünf | cinque cinque | 五
six | sechs | sei sei | 六
seven | sieben | sette sette | 七
eight | acht | otto otto | 八
nine | neun | nove nove | 九
ten | zehn | dieci dieci | 十
eleven | elf | undici undici | 十一
twelve | zwölf | dodici dodici | 十二
twenty | zwanzig | venti venti | 二十
one hundred | hundert | cento cento | 一百
many | viele | molti molte | 很多-
several | mehrere | diversi diverse | 好几
"""

# English third singular, plural | German | Italian | Chinese
MODALS = """
can can | kann können | può possono | 能
must must | muss müssen | deve devono | 必须
wants_to want_to | will wollen | vuole vogliono | 想
will will | wird werden | - - | 会
"""

# key | English | German | Italian | Chinese opening | Chinese closing
LINKS = """
because | because | weil | perché | 因为 | -
although | although | obwohl | anche_se | 虽然 | -
when | when | wenn | quando | 当 | 的时候
if | if | wenn | se | 如果 | -
while | while | während | mentre | 在 | 的同时
and | and | und | e | 而 | -
but | but | aber | ma | 但是 | -
that | that | dass | che | - | -
"""
