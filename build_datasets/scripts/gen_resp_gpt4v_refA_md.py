"""Long answers about one picture and its reference by a vision LLM (two distortions).

PYTHONPATH=./ python scripts/gen_resp_gpt4v_refA_md.py --help
"""

from build_datasets.dq495k.responses import gpt4v_command

if __name__ == "__main__":
    gpt4v_command("refA")
