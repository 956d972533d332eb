"""Verbs. Columns: English | German | Italian | Chinese | classes of object (none: intransitive).

English is `infinitive [past participle]`, with `~` before a particle (`switch~off`). German is `[prefix+]infinitive
third-person participle`. Italian is `infinitive[/3sg/3pl/participle/future stem]`, regular forms left out.
"""

VERBS = """
translate | übersetzen übersetzt übersetzt | tradurre/traduce/traducono/tradotto/tradurr | 翻译 | text
write wrote written | schreiben schreibt geschrieben | scrivere///scritto | 写 | text
publish | veröffentlichen veröffentlicht veröffentlicht | pubblicare | 发表 | text
study | studieren studiert studiert | studiare | 研究 | text idea
discuss | besprechen bespricht besprochen | discutere///discusso | 讨论 | text idea
explain | erklären erklärt erklärt | spiegare | 解释 | idea
describe | beschreiben beschreibt beschrieben | descrivere///descritto | 描述 | idea art building
forget forgot forgotten | vergessen vergisst vergessen | dimenticare | 忘记 | tool clothing
correct | korrigieren korrigiert korrigiert | correggere///corretto | 修改 | text
present | vor+stellen stellt vorgestellt | presentare | 介绍 | idea
reject | ab+lehnen lehnt abgelehnt | respingere///respinto | 拒绝 | =contract =proposal =project =solution =decision
accept | an+nehmen nimmt angenommen | accettare | 接受 | =contract =proposal =solution =decision
prepare | vor+bereiten bereitet vorbereitet | preparare | 准备 | food =report =contract =experiment =project
repair | reparieren repariert repariert | riparare | 修理 | device vehicle
switch~off | aus+schalten schaltet ausgeschaltet | spegnere/spegne/spengono/spento | 关掉 | device
activate | ein+schalten schaltet eingeschaltet | attivare | 启动 | device
buy bought bought | kaufen kauft gekauft | comprare | 买 | device food tool vehicle clothing furniture art =book
sell sold sold | verkaufen verkauft verkauft | vendere | 卖 | device tool vehicle building clothing art animal
find found found | finden findet gefunden | trovare | 找到 | text tool clothing =solution
lose lost lost | verlieren verliert verloren | perdere///perso | 弄丢 | text tool clothing
steal stole stolen | stehlen stiehlt gestohlen | rubare | 偷 | tool vehicle art =horse
clean | putzen putzt geputzt | pulire/pulisce/puliscono | 清洗 | furniture clothing device
paint | malen malt gemalt | dipingere///dipinto | 画 | art
build built built | bauen baut gebaut | costruire/costruisce/costruiscono | 建造 | building
visit | besuchen besucht besucht | visitare | 参观 | building
destroy | zerstören zerstört zerstört | distruggere///distrutto | 毁掉 | building device
design | entwerfen entwirft entworfen | progettare | 设计 | building device vehicle clothing
photograph | fotografieren fotografiert fotografiert | fotografare | 拍摄 | building animal vehicle
admire | bewundern bewundert bewundert | ammirare | 欣赏 | art building
observe | beobachten beobachtet beobachtet | osservare | 观察 | animal person
protect | beschützen beschützt beschützt | proteggere///protetto | 保护 | animal person
wash | waschen wäscht gewaschen | lavare | 洗 | clothing vehicle =potato =apple =tomato =bottle
wear wore worn | tragen trägt getragen | indossare | 穿 | clothing
eat ate eaten | essen isst gegessen | mangiare | 吃 | food
taste | probieren probiert probiert | assaggiare | 品尝 | food
order | bestellen bestellt bestellt | ordinare | 订购 | food device furniture
drive drove driven | fahren fährt gefahren | guidare | 开 | =car =tractor =truck =ambulance
rent | mieten mietet gemietet | noleggiare | 租 | vehicle
park | parken parkt geparkt | parcheggiare | 停放 | vehicle
sing sang sung | singen singt gesungen | cantare | 唱 | =song =melody
compose | komponieren komponiert komponiert | comporre/compone/compongono/composto/comporr | 创作 | music
hear heard heard | hören hört gehört | sentire | 听到 | music =message =story
open | auf+machen macht aufgemacht | aprire///aperto | 打开 | =window =cupboard =bottle =letter =suitcase
close | zu+machen macht zugemacht | chiudere///chiuso | 关上 | =window =cupboard =suitcase
solve | lösen löst gelöst | risolvere///risolto | 解决 | =problem
understand understood understood | verstehen versteht verstanden | capire/capisce/capiscono | 理解 | text idea
develop | entwickeln entwickelt entwickelt | sviluppare | 开发 | device =method =project =theory =strategy
test | testen testet getestet | testare | 测试 | device vehicle =method
improve | verbessern verbessert verbessert | migliorare | 改进 | device =method =theory =strategy =article =report
examine | untersuchen untersucht untersucht | esaminare | 检查 | device text vehicle
choose chose chosen | aus+wählen wählt ausgewählt | scegliere//scelgono/scelto | 选择 | clothing art =solution
invite | ein+laden lädt eingeladen | invitare | 邀请 | person
greet | begrüßen begrüßt begrüßt | salutare | 问候 | person
interview | interviewen interviewt interviewt | intervistare | 采访 | person
support | unterstützen unterstützt unterstützt | sostenere/sostiene/sostengono/sostenuto/sosterr | 支持 | person idea
convince | überzeugen überzeugt überzeugt | convincere///convinto | 说服 | person
accompany | begleiten begleitet begleitet | accompagnare | 陪伴 | person
meet met met | treffen trifft getroffen | incontrare | 见到 | person
hire | ein+stellen stellt eingestellt | assumere///assunto | 雇用 | person
criticize | kritisieren kritisiert kritisiert | criticare | 批评 | person =decision =proposal =theory =strategy
praise | loben lobt gelobt | lodare | 表扬 | person
rescue | retten rettet gerettet | salvare | 救 | animal person
send sent sent | schicken schickt geschickt | mandare | 寄 | =letter =book =document =contract =report =article
receive | bekommen bekommt bekommen | ricevere | 收到 | =message =letter =report =contract =document =proposal
sign | unterschreiben unterschreibt unterschrieben | firmare | 签署 | =contract =document =letter
print | aus+drucken druckt ausgedruckt | stampare | 打印 | text
copy | ab+schreiben schreibt abgeschrieben | copiare | 抄写 | =poem =letter =article =story
download | herunter+laden lädt heruntergeladen | scaricare | 下载 | =document =book =article =song =report =picture
delete | löschen löscht gelöscht | cancellare | 删除 | =document =message =article =report
recommend | empfehlen empfiehlt empfohlen | consigliare | 推荐 | food =book =restaurant =museum =method =solution
install | installieren installiert installiert | installare | 安装 | device
connect | an+schließen schließt angeschlossen | collegare | 连接 | device
hide hid hidden | verstecken versteckt versteckt | nascondere///nascosto | 藏 | tool text food
break broke broken | zerbrechen zerbricht zerbrochen | rompere///rotto | 打破 | =mirror =bottle =window
bring brought brought | mit+bringen bringt mitgebracht | portare | 带来 | food tool text
return | zurück+geben gibt zurückgegeben | restituire/restituisce/restituiscono | 归还 | tool vehicle =book =camera
throw~away threw thrown | weg+werfen wirft weggeworfen | buttare | 扔掉 | tool food clothing =letter
pack | ein+packen packt eingepackt | impacchettare | 打包 | clothing tool
sketch | zeichnen zeichnet gezeichnet | disegnare | 素描 | building animal
work | arbeiten arbeitet gearbeitet | lavorare | 工作 |
sleep slept slept | schlafen schläft geschlafen | dormire | 睡觉 |
laugh | lachen lacht gelacht | ridere///riso | 笑 |
dance | tanzen tanzt getanzt | ballare | 跳舞 |
smile | lächeln lächelt gelächelt | sorridere///sorriso | 微笑 |
complain | klagen klagt geklagt | protestare | 抱怨 |
rehearse | proben probt geprobt | provare | 排练 |
dream | träumen träumt geträumt | sognare | 做梦 |
"""

SAYING = """
say said said | sagen sagt gesagt | dire/dice/dicono/detto/dir | 说 | any
know knew known | wissen weiß gewusst | sapere/sa/sanno/saputo/sapr | 知道 | present
believe | glauben glaubt geglaubt | credere | 相信 | will
think thought thought | denken denkt gedacht | pensare | 认为 | will
hope | hoffen hofft gehofft | sperare | 希望 | will
claim | behaupten behauptet behauptet | sostenere/sostiene/sostengono/sostenuto/sosterr | 声称 | any
announce | an+kündigen kündigt angekündigt | annunciare | 宣布 | any
"""

ADJECTIVES = """
young | jung | giovane | 年轻 | person
famous | berühmt | famoso | 著名 | person building music art
friendly | freundlich | gentile | 友好 | person
clever | klug | intelligente | 聪明 | person
tired | müde müd | stanco | 疲倦 | person
happy | glücklich | felice | 快乐 | person
patient | geduldig | paziente | 耐心 | person
honest | ehrlich | onesto | 诚实 | person
lonely | einsam | solo | 孤独 | person
nervous | nervös | nervoso | 紧张 | person
curious | neugierig | curioso | 好奇 | person
brave | mutig | coraggioso | 勇敢 | person
angry | wütend | arrabbiato | 生气 | person
polite | höflich | educato | 礼貌 | person
elderly | alt | anziano | 年老 | person
talented | begabt | talentuoso | 有才华 | person
ambitious | ehrgeizig | ambizioso | 有抱负 | person
new | neu | nuovo | 新 | text device tool clothing vehicle building music idea furniture
expensive | teuer teur | costoso | 昂贵 | device tool clothing vehicle furniture art
beautiful | schön | bello | 美丽 | building art clothing music animal
strange | seltsam | strano | 奇怪 | text device art music idea animal
important | wichtig | importante | 重要 | text idea
simple | einfach | semplice | 简单 | idea device =sandwich =house
difficult | schwierig | difficile | 困难 | =problem =decision =experiment =project
interesting | interessant | interessante | 有趣 | text art idea
modern | modern | moderno | 现代 = | device building vehicle furniture
heavy | schwer | pesante | 沉重 | =machine =suitcase =ladder =hammer =mirror =cupboard =dictionary =television
enormous | riesig | enorme | 巨大 | building animal =machine =truck
dirty | schmutzig | sporco sporchi | 肮脏 | clothing vehicle furniture =blanket =house
broken | kaputt | rotto | 损坏 ! | device =umbrella =ladder =guitar =window =mirror =bottle =bicycle
wooden | hölzern | di_legno - | 木制 = | =bridge =house =tower =ladder =cupboard
yellow | gelb | giallo | 黄色 = | clothing vehicle =umbrella =blanket =pencil =house
green | grün | verde | 绿色 = | clothing vehicle =apple =umbrella =blanket =bottle
purple | lila - | viola - | 紫色 = | clothing =umbrella =blanket =bottle
dangerous | gefährlich | pericoloso | 危险 | vehicle animal =machine =experiment =bridge =method
delicious | lecker | squisito | 美味 | food
fresh | frisch | fresco freschi | 新鲜 | food
practical | praktisch | pratico pratici | 实用 | tool device =method =solution
romantic | romantisch | romantico romantici | 浪漫 | text music art
popular | beliebt | popolare | 受欢迎 | music =book =restaurant =museum =theater
original | originell | originale | 新颖 | idea art
excellent | ausgezeichnet | eccellente | 出色 | text idea =restaurant =translator
ancient | uralt | antico antichi | 古老 | building =book =letter =document
terrible | schrecklich | terribile | 糟糕 | idea text music
perfect | perfekt | perfetto | 完美 | =solution =method =apple =portrait =melody
"""
