"""The Optuna side of `producer study`: one request in JSON a line on stdin, one answer on stdout.

Every request may be made twice: what was done already is not done again. It ends with its input.
A trial's parameters depend on the trials told before it and on its own seed alone.
"""

import fcntl
import json
import math
import sqlite3
import sys
import time

STARTUP_TRIALS = 5  # Of each model, drawn at random before TPE has anything to go by.
LOCK_PATIENCE = 20.0  # Seconds that a driver whose producer was killed may take to end.
SETTINGS, RUNS = "rigqueue:settings", "rigqueue:runs"  # Attributes of the study.
ABOUT, OUTCOME = "rigqueue:trial", "rigqueue:outcome"  # Attributes of a trial.


class Refused(Exception):
    """What was asked can't be done; the text is for people."""


def suggest(trial, prefix, space):
    """Parameters by name, each suggested by its entry of the search space. Those that are there
    only with certain values of others come after those."""
    chosen = {}
    for name, entry in sorted(space.items(), key=lambda item: ("when" in item[1], item[0])):
        when = entry.get("when", {})
        if any(chosen.get(other) not in allowed for other, allowed in when.items()):
            continue
        if "choice" in entry:
            value = trial.suggest_categorical(prefix + name, entry["choice"])
        elif "int" in entry:
            low, high = entry["int"]
            step = entry.get("step", 1)
            value = trial.suggest_int(prefix + name, low, high, step=step, log=entry.get("log", False))
        else:
            low, high = entry["float"]
            step, log = entry.get("step"), entry.get("log", False)
            value = trial.suggest_float(prefix + name, low, high, step=step, log=log)
        chosen[name] = value
    return chosen


class Driver:
    def __init__(self):
        self.study = None
        self.lock = None
        self.models, self.names = {}, []

    def prefix(self, model):
        return f"{model}." if len(self.models) > 1 else ""

    def hold(self, path):
        self.lock = open(path, "a")
        until = time.monotonic() + LOCK_PATIENCE
        while True:
            try:
                return fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until:
                    raise Refused(f"another driver of this study still runs: it holds {path}") from None
                time.sleep(0.05)

    def open(self, storage, study, settings, lock):
        """Opens the study, or makes it with `settings`; all its trials and what it was made with."""
        self.hold(lock)
        try:
            if storage.startswith("sqlite:"):
                patient = {"connect_args": {"timeout": 60}}
                opened = optuna.storages.RDBStorage(storage, engine_kwargs=patient)
            else:
                opened = optuna.storages.get_storage(storage)
        except Exception as fault:  # noqa: BLE001: each kind of storage has errors of its own.
            first = str(fault).strip().splitlines()[:1]
            raise Refused(f"the storage {storage} can't be opened: {' '.join(first)}") from None
        self.study = optuna.create_study(
            storage=opened, study_name=study, direction="maximize", load_if_exists=True
        )
        attrs = self.study.user_attrs
        if SETTINGS not in attrs:
            if len(self.study.get_trials(deepcopy=False)) > 0:
                raise Refused(f"the study '{study}' was not made by RigQueue: choose another name")
            self.study.set_user_attr(SETTINGS, settings)
            attrs = self.study.user_attrs
        self.models, self.names = attrs[SETTINGS]["space"], attrs[SETTINGS]["models"]
        trials = [self.about(trial) for trial in self.study.get_trials(deepcopy=False)]
        return {"settings": attrs[SETTINGS], "runs": attrs.get(RUNS, []), "trials": trials}

    def about(self, trial):
        about = trial.user_attrs.get(ABOUT)
        values = trial.values or [None]
        state = trial.state.name.lower()
        told = trial.user_attrs.get(OUTCOME, {})
        plain = {}
        if about is not None:
            prefix = self.prefix(about["model"])
            plain = {k.removeprefix(prefix): v for k, v in trial.params.items() if k != "model"}
        return {"number": trial.number, "state": state, "value": values[0], "params": plain, "about": about, **told}

    def note_runs(self, runs):
        """Keeps what runs there are, before anything of the last one is published."""
        self.study.set_user_attr(RUNS, runs)
        return {}

    def like(self, model, trials, sampler_seed):
        """What TPE suggests next for a model that has these trials."""
        sampler = optuna.samplers.TPESampler(
            n_startup_trials=STARTUP_TRIALS, constant_liar=True, multivariate=False, seed=sampler_seed
        )
        own = optuna.create_study(direction="maximize", sampler=sampler)
        for trial in trials:
            # Of the model that all share one name there is nothing to learn.
            params = {k: v for k, v in trial.params.items() if k != "model"}
            kinds = {k: v for k, v in trial.distributions.items() if k != "model"}
            own.add_trial(
                optuna.trial.create_trial(
                    state=trial.state, values=trial.values, params=params, distributions=kinds
                )
            )
        return suggest(own.ask(), self.prefix(model), self.models[model])

    def ask(self, number, about, sampler_seed, params):
        """Trial `number`, with these parameters or with what its model's trials suggest."""
        trials = self.study.get_trials(deepcopy=False)
        if any(t.state == TrialState.WAITING for t in trials) or number > len(trials):
            raise Refused("somebody else added trials to the study: choose another name")
        model = about["model"]
        if params is None:
            usable = (TrialState.COMPLETE, TrialState.RUNNING)
            before = [t for t in trials[:number] if t.state in usable]
            own = [t for t in before if t.user_attrs.get(ABOUT, {}).get("model") == model]
            params = self.like(model, own, sampler_seed)
        values = {self.prefix(model) + name: value for name, value in params.items()}
        self.study.sampler = Fixed({"model": model, **values})
        if number == len(trials):
            trial = self.study.ask()
        else:
            # Whoever made it was killed before it was whole.
            trial = optuna.trial.Trial(self.study, trials[number]._trial_id)
        if trial.number != number:
            raise Refused("somebody else added trials to the study: choose another name")
        if len(self.models) > 1:
            trial.suggest_categorical("model", self.names)
        suggest(trial, self.prefix(model), self.models[model])
        trial.set_user_attr(ABOUT, about)
        return {"params": params}

    def tell(self, number, value, failure, seconds, node):
        """What came of a trial: a value, or a failure."""
        frozen = self.study.get_trials(deepcopy=False)[number]
        if frozen.state.is_finished():
            return {"told": False}
        outcome = {"failure": failure, "seconds": seconds, "node": node}
        optuna.trial.Trial(self.study, frozen._trial_id).set_user_attr(OUTCOME, outcome)
        if failure is None:
            self.study.tell(number, value)
        else:
            self.study.tell(number, state=TrialState.FAIL)
        return {"told": True}


def answer(driver, line):
    try:
        request = json.loads(line)
        return {"ok": getattr(driver, request.pop("do"))(**request)}
    except Refused as refused:
        return {"refused": str(refused)}
    except Exception as fault:  # noqa: BLE001: whatever it is, the producer must hear of it.
        return {"fault": f"{type(fault).__name__}: {fault}"}


def plain(value):
    """JSON has no NaN; an objective that is none is a failure long before this."""
    return None if isinstance(value, float) and not math.isfinite(value) else str(value)


try:
    import optuna
    import sqlalchemy
    from optuna.trial import TrialState
except ImportError as absent:
    print(json.dumps({"missing": str(absent)}), flush=True)
    sys.exit(0)

optuna.logging.set_verbosity(optuna.logging.WARNING)


@sqlalchemy.event.listens_for(sqlalchemy.engine.Engine, "connect")
def write_ahead(connection, _):
    """One write to the disk a commit and not three. A power cut may cost the last trials, which are
    asked again with the same parameters; their outcomes are in the ledger."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")


class Fixed(optuna.samplers.BaseSampler):
    """Samples the values that were chosen already."""

    def __init__(self, values):
        self.values = values

    def infer_relative_search_space(self, study, trial):
        return {}

    def sample_relative(self, study, trial, search_space):
        return {}

    def sample_independent(self, study, trial, param_name, param_distribution):
        return self.values[param_name]


driver = Driver()
print(json.dumps({"optuna": optuna.__version__}), flush=True)
for line in sys.stdin:
    print(json.dumps(answer(driver, line), default=plain), flush=True)
