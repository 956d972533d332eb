"""The examples at the end of every page of help: commands that work as typed, in this order, from a checkout."""

from __future__ import annotations

from collections.abc import Mapping

CORPUS = """\
python -m demo.make.calibrate --write-corpus out/corpus
    parallel text of the embedded model's language, to try it
"""
CHECK = "alignatt submission check out/submission/me_IWSLT26_SIMUL_no-context_primary.tar.gz"
BUILD = """\
make eval-ende-low eval-ende-high
    runs of all demo talks
alignatt submission build out/demo/ende-low out/demo/ende-high --team me --contact me@example.org
"""

EXAMPLES: Mapping[str, str] = {
    "simulstream": """\
simulstream --agent agent.AlignAttAgent
    translate the first demo talk and watch it
simulstream --agent agent.AlignAttAgent --source demo/talks/demo-talk-1.flac --tgt-lang it --output out/mine
    your own audio, a list of files or a folder after --source
simulstream --agent agent.AlignAttAgent --preset ende-low --profile a40 --dry-run
    what the full models would be: weights, memory, prompt, heads
""",
    "simulstream serve": """\
simulstream serve --preset ende-low
simulstream serve --protocol http --port 8001 --tgt-lang zh --pool-size 2
""",
    "alignatt": """\
alignatt score out/mine --talks demo-talk-1
alignatt compare out/demo/ende-low out/demo/ende-high
alignatt doctor
""",
    "alignatt score": """\
alignatt score out/mine --talks demo-talk-1
alignatt score out/mine/simulstream.jsonl --lang it --talks demo-talk-1 --output out/theirs
    a log alone, of any system that writes simulstream's or SimulEval's
""",
    "alignatt compare": """\
alignatt compare out/demo/ende-low out/demo/ende-high
alignatt compare out/demo/ende-low out/demo/ende-high --resample none --examples 5
""",
    "alignatt report": "alignatt report out/demo/ende-low out/demo/ende-high -o out/demo/report.html",
    "alignatt sweep": """\
alignatt sweep demo/sweep.yaml --output out/sweep
alignatt sweep demo/sweep.yaml --output out/sweep --slurm --sbatch partition=gpu
""",
    "alignatt submission": BUILD + CHECK,
    "alignatt submission build": BUILD,
    "alignatt submission check": CHECK,
    "alignatt devset": "alignatt devset demo/talks --output out/devset",
    "alignatt heads": "alignatt heads show demo-en-de\nalignatt heads check --tgt-lang zh",
    "alignatt heads calibrate": f"""\
{CORPUS}\
alignatt heads calibrate --tgt-lang de --corpus out/corpus/en-de.en out/corpus/en-de.de --output out/my-heads.json
""",
    "alignatt heads show": """\
alignatt heads show demo-en-de
alignatt heads show gemma-4-E4B-it-en-de --rows 20 --plot out/heads.svg
""",
    "alignatt heads check": """\
alignatt heads check --tgt-lang zh
alignatt heads check --set mt.head_set=agent/head_sets/demo-en-de.json
""",
    "alignatt probe": f"""\
{CORPUS}\
alignatt probe demo/model --tgt-lang de --corpus out/corpus/en-de.en out/corpus/en-de.de --output out/probe
""",
    "alignatt models": "alignatt models list\nalignatt models download --preset ende-low-a40 --to models",
    "alignatt models list": "alignatt models list",
    "alignatt models download": """\
alignatt models download Qwen/Qwen3-ASR-1.7B-hf
alignatt models download --preset ende-low-a40 --to models
""",
    "alignatt keys": """\
alignatt keys margin
alignatt keys --markdown
""",
    "alignatt doctor": """\
alignatt doctor --self-test
alignatt doctor --preset ende-low --profile a40
""",
}
"""By the command: a command a line, further in what it does."""
