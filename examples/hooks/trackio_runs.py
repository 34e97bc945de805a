"""A hook that follows runs in trackio (``pip install trackio``): one trackio run a run of the plan.

Put it into a package of yours with this entry point, then ``supernet-bench run mt --hook trackio``:

    [project.entry-points."supernet_bench.hooks"]
    trackio = "my_package.trackio_runs:TrackioHook"
"""

import os

import trackio


class TrackioHook:
    """Logs the progress of each run, and its results at the end."""

    def __init__(self):
        self.project = os.environ.get("TRACKIO_PROJECT", "supernet-bench")
        self.runs = {}

    def handle(self, event):
        about = event["run"]
        if about["id"] not in self.runs:
            name = f"{about['method']}-{about['seed']}-{about['id'][:6]}"
            self.runs[about["id"]] = trackio.init(project=self.project, name=name, config=about)
        run = self.runs[about["id"]]
        if event["event"] == "progress":
            values = {f"spent/{kind}": share for kind, share in event["spent"].items()}
            values |= {"valid_loss": event["valid_loss"]} if "valid_loss" in event else {}
            if values:
                run.log(values)
        else:
            for result in event["results"]:
                run.log({f"test/{name}": value for name, value in result.items() if value is not None})
            self.runs.pop(about["id"]).finish()
