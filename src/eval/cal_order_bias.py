"""Order bias of comparisons: `python cal_order_bias.py --pred_path AB.json BA.json --gt_path meta_AB.json meta_BA.json`."""

from depictqa.evaluation.reliability_commands import order_command

if __name__ == "__main__":
    order_command()
