"""Print sampled sentences in all languages: `python -m demo.language [SENTENCES] [SEED]`."""

from __future__ import annotations

import random
import sys
from itertools import islice

from demo.language import realise, sample_sentences

count = int(sys.argv[1]) if len(sys.argv) > 1 else 20
seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
for meaning in islice(sample_sentences(random.Random(seed), count), count):
    for lang in ("en", "de", "it", "zh"):
        canonical = realise(meaning, lang).text
        late = realise(meaning, lang, late=True).text
        print(f"{lang}  {canonical}" + (f"\n{lang}~ {late}" if late != canonical else ""))
    print()
