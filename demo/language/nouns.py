"""Nouns and names. Columns: English [plural] | German gender plural [n] | Italian [plural] gender | Chinese measure.

The mark `n` is the German weak declension (den Studenten). For persons the gender is also the sex the pronouns follow;
a fifth column gives it where German grammar disagrees (das Mädchen: sie).
"""

PERSONS = """
teacher | Lehrer m Lehrer | insegnante insegnanti m | 老师 位
student | Student m Studenten n | studente studenti m | 学生 个
engineer | Ingenieur m Ingenieure | ingegnere ingegneri m | 工程师 位
doctor | Arzt m Ärzte | medico medici m | 医生 位
neighbor | Nachbar m Nachbarn n | vicino vicini m | 邻居 个
woman women | Frau f Frauen | donna donne f | 女人 个
girl | Mädchen n Mädchen | ragazza ragazze f | 女孩 个 | f
scientist | Wissenschaftler m Wissenschaftler | scienziato scienziati m | 科学家 位
artist | Künstler m Künstler | artista artisti m | 艺术家 位
driver | Fahrer m Fahrer | autista autisti m | 司机 位
mother | Mutter f Mütter | madre madri f | 母亲 位
sister | Schwester f Schwestern | sorella sorelle f | 姐姐 个
grandfather | Großvater m Großväter | nonno nonni m | 爷爷 位
grandmother | Großmutter f Großmütter | nonna nonne f | 奶奶 位
daughter | Tochter f Töchter | figlia figlie f | 女儿 个
journalist | Journalist m Journalisten n | giornalista giornalisti m | 记者 位
professor | Professor m Professoren | professore professori m | 教授 位
lawyer | Anwalt m Anwälte | avvocato avvocati m | 律师 位
musician | Musiker m Musiker | musicista musicisti m | 音乐家 位
farmer | Bauer m Bauern n | contadino contadini m | 农民 位
nurse | Krankenschwester f Krankenschwestern | infermiera infermiere f | 护士 位
actress | Schauspielerin f Schauspielerinnen | attrice attrici f | 女演员 位
waitress | Kellnerin f Kellnerinnen | cameriera cameriere f | 女服务员 位
princess | Prinzessin f Prinzessinnen | principessa principesse f | 公主 位
policeman policemen | Polizist m Polizisten n | poliziotto poliziotti m | 警察 位
soldier | Soldat m Soldaten n | soldato soldati m | 士兵 位
president | Präsident m Präsidenten n | presidente presidenti m | 总统 位
minister | Minister m Minister | ministro ministri m | 部长 位
mechanic | Mechaniker m Mechaniker | meccanico meccanici m | 机械师 位
carpenter | Tischler m Tischler | falegname falegnami m | 木匠 位
gardener | Gärtner m Gärtner | giardiniere giardinieri m | 园丁 位
fisherman fishermen | Fischer m Fischer | pescatore pescatori m | 渔夫 位
architect | Architekt m Architekten n | architetto architetti m | 建筑师 位
programmer | Programmierer m Programmierer | programmatore programmatori m | 程序员 位
photographer | Fotograf m Fotografen n | fotografo fotografi m | 摄影师 位
tourist | Tourist m Touristen n | turista turisti m | 游客 位
customer | Kunde m Kunden n | cliente clienti m | 顾客 位
manager | Geschäftsführer m Geschäftsführer | direttore direttori m | 经理 位
secretary secretaries | Sekretärin f Sekretärinnen | segretaria segretarie f | 秘书 位
librarian | Bibliothekarin f Bibliothekarinnen | bibliotecaria bibliotecarie f | 图书管理员 位
colleague | Kollege m Kollegen n | collega colleghi m | 同事 位
pilot | Pilot m Piloten n | pilota piloti m | 飞行员 位
philosopher | Philosoph m Philosophen n | filosofo filosofi m | 哲学家 位
composer | Komponist m Komponisten n | compositore compositori m | 作曲家 位
translator | Übersetzer m Übersetzer | traduttore traduttori m | 译者 位
"""

NAMES = """
Peter m
Maria f
Thomas m
Julia f
Martin m
Sophia f
Daniel m
Laura f
Robert m
Victor m
Barbara f
Oliver m
Isabella f
Veronica f
Marco m
Elizabeth f
"""

OBJECTS = {
    "text": """
book | Buch n Bücher | libro libri m | 书 本
article | Artikel m Artikel | articolo articoli m | 文章 篇
report | Bericht m Berichte | rapporto rapporti m | 报告 份
story stories | Geschichte f Geschichten | storia storie f | 故事 个
message | Nachricht f Nachrichten | messaggio messaggi m | 消息 条
document | Dokument n Dokumente | documento documenti m | 文件 份
contract | Vertrag m Verträge | contratto contratti m | 合同 份
poem | Gedicht n Gedichte | poesia poesie f | 诗 首
dictionary dictionaries | Wörterbuch n Wörterbücher | dizionario dizionari m | 词典 本
letter | Brief m Briefe | lettera lettere f | 信 封
""",
    "device": """
computer | Computer m Computer | computer computer m | 电脑 台
machine | Maschine f Maschinen | macchina macchine f | 机器 台
camera | Kamera f Kameras | telecamera telecamere f | 摄像机 台
television | Fernseher m Fernseher | televisore televisori m | 电视机 台
printer | Drucker m Drucker | stampante stampanti f | 打印机 台
refrigerator | Kühlschrank m Kühlschränke | frigorifero frigoriferi m | 冰箱 台
microphone | Mikrofon n Mikrofone | microfono microfoni m | 麦克风 个
robot | Roboter m Roboter | robot robot m | 机器人 个
telephone | Telefon n Telefone | telefono telefoni m | 电话 部
""",
    "food": """
apple | Apfel m Äpfel | mela mele f | 苹果 个
potato potatoes | Kartoffel f Kartoffeln | patata patate f | 土豆 个
banana | Banane f Bananen | banana banane f | 香蕉 根
sandwich | Brötchen n Brötchen | panino panini m | 三明治 个
pizza | Pizza f Pizzen | pizza pizze f | 比萨 个
chocolate cake | Schokoladenkuchen m Schokoladenkuchen | torta_al_cioccolato torte_al_cioccolato f | 巧克力蛋糕 个
vegetable soup | Gemüsesuppe f Gemüsesuppen | zuppa_di_verdure zuppe_di_verdure f | 蔬菜汤 份
tomato tomatoes | Tomate f Tomaten | pomodoro pomodori m | 西红柿 个
cucumber | Gurke f Gurken | cetriolo cetrioli m | 黄瓜 根
""",
    "tool": """
umbrella | Regenschirm m Regenschirme | ombrello ombrelli m | 雨伞 把
hammer | Hammer m Hämmer | martello martelli m | 锤子 把
ladder | Leiter f Leitern | scala scale f | 梯子 架
suitcase | Koffer m Koffer | valigia valigie f | 箱子 个
blanket | Decke f Decken | coperta coperte f | 毯子 条
pencil | Bleistift m Bleistifte | matita matite f | 铅笔 支
ticket | Fahrkarte f Fahrkarten | biglietto biglietti m | 车票 张
passport | Pass m Pässe | passaporto passaporti m | 护照 本
guitar | Gitarre f Gitarren | chitarra chitarre f | 吉他 把
""",
    "clothing": """
jacket | Jacke f Jacken | giacca giacche f | 夹克 件
sweater | Pullover m Pullover | maglione maglioni m | 毛衣 件
shirt | Hemd n Hemden | camicia camicie f | 衬衫 件
uniform | Uniform f Uniformen | uniforme uniformi f | 制服 套
""",
    "vehicle": """
car | Auto n Autos | auto auto f | 汽车 辆
bicycle | Fahrrad n Fahrräder | bicicletta biciclette f | 自行车 辆
tractor | Traktor m Traktoren | trattore trattori m | 拖拉机 台
truck | Lastwagen m Lastwagen | camion camion m | 卡车 辆
motorcycle | Motorrad n Motorräder | motocicletta motociclette f | 摩托车 辆
ambulance | Krankenwagen m Krankenwagen | ambulanza ambulanze f | 救护车 辆
""",
    "building": """
house | Haus n Häuser | casa case f | 房子 座
bridge | Brücke f Brücken | ponte ponti m | 桥 座
museum | Museum n Museen | museo musei m | 博物馆 座
factory factories | Fabrik f Fabriken | fabbrica fabbriche f | 工厂 座
theater | Theater n Theater | teatro teatri m | 剧院 座
castle | Schloss n Schlösser | castello castelli m | 城堡 座
church | Kirche f Kirchen | chiesa chiese f | 教堂 座
restaurant | Restaurant n Restaurants | ristorante ristoranti m | 餐厅 家
tower | Turm m Türme | torre torri f | 塔 座
""",
    "art": """
picture | Bild n Bilder | quadro quadri m | 画 幅
portrait | Porträt n Porträts | ritratto ritratti m | 肖像 幅
landscape | Landschaft f Landschaften | paesaggio paesaggi m | 风景画 幅
""",
    "music": """
song | Lied n Lieder | canzone canzoni f | 歌 首
melody melodies | Melodie f Melodien | melodia melodie f | 旋律 段
symphony symphonies | Sinfonie f Sinfonien | sinfonia sinfonie f | 交响曲 首
""",
    "idea": """
problem | Problem n Probleme | problema problemi m | 问题 个
method | Methode f Methoden | metodo metodi m | 方法 种
project | Projekt n Projekte | progetto progetti m | 项目 个
experiment | Experiment n Experimente | esperimento esperimenti m | 实验 个
solution | Lösung f Lösungen | soluzione soluzioni f | 解决方案 个
decision | Entscheidung f Entscheidungen | decisione decisioni f | 决定 个
proposal | Vorschlag m Vorschläge | proposta proposte f | 提案 个
theory theories | Theorie f Theorien | teoria teorie f | 理论 个
strategy strategies | Strategie f Strategien | strategia strategie f | 策略 个
""",
    "furniture": """
window | Fenster n Fenster | finestra finestre f | 窗户 扇
mirror | Spiegel m Spiegel | specchio specchi m | 镜子 面
cupboard | Schrank m Schränke | armadio armadi m | 柜子 个
bottle | Flasche f Flaschen | bottiglia bottiglie f | 瓶子 个
""",
    "animal": """
elephant | Elefant m Elefanten n | elefante elefanti m | 大象 头
horse | Pferd n Pferde | cavallo cavalli m | 马 匹
rabbit | Kaninchen n Kaninchen | coniglio conigli m | 兔子 只
chicken | Huhn n Hühner | gallina galline f | 鸡 只
monkey | Affe m Affen n | scimmia scimmie f | 猴子 只
""",
}
