"""Holds a history to the promises. Pure: events in, offences out; `test_checker` shows that each rule bites.

A rule is a function from the sorted events, indexed once, to its offences. What a caller cannot know is allowed: a
submit whose answer was lost may have made a task, but never two with one key, and what it made must be right.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from faults.history import (
    TERMINAL,
    Answered,
    Apart,
    Asked,
    Cancelled,
    Carried,
    Event,
    Fault,
    Missing,
    Plan,
    Ran,
    Seen,
    Stored,
    Wrong,
    render,
    time_of,
)

#: A model's clock reading and ours are of the same clock; this is for the time between reading it and writing it down.
CLOCK_SLACK = 0.005
#: A server that was taken for dead learns it from the store's answer to its next write, and stops what it runs then.
APART_SLACK = 5.0
#: Events before and after an offence that are shown with it, besides those of its task.
FAULTS_SHOWN = 12


@dataclass(frozen=True)
class Offence:
    """A broken promise: which, by which rule, and whom it happened to."""

    promise: int
    rule: str
    what: str
    task: str | None = None
    op: int | None = None
    at: float = 0.0


class Case:
    """A history, indexed."""

    def __init__(self, events: Iterable[Event]) -> None:
        self.events = sorted(events, key=time_of)
        self.plans: dict[int, Plan] = {}
        self.asked_at: dict[int, float] = {}
        self.answers: dict[int, list[Answered]] = defaultdict(list)
        self.seen: dict[str, list[Seen]] = defaultdict(list)
        self.missing: dict[str, list[Missing]] = defaultdict(list)
        self.cancels: dict[str, list[Cancelled]] = defaultdict(list)
        self.ran: dict[int, list[Ran]] = defaultdict(list)
        self.stored: list[Stored] = []
        self.wrongs: list[Wrong] = []
        self.aparts: list[Apart] = []
        self.carried = False
        self.clock_moved = False
        self.power_cuts: list[float] = []
        #: From a task's id to the submit that made it, as its 202 said.
        self.op_of: dict[str, int] = {}
        for event in self.events:
            self._index(event)

    def _index(self, event: Event) -> None:  # noqa: C901, PLR0912  (one case for each kind of event)
        match event:
            case Asked():
                self.plans[event.plan.op] = event.plan
                self.asked_at[event.plan.op] = event.at
            case Answered():
                self.answers[event.op].append(event)
                if event.task is not None:
                    self.op_of.setdefault(event.task, event.op)
            case Seen():
                self.seen[event.task].append(event)
            case Missing():
                self.missing[event.task].append(event)
            case Cancelled():
                self.cancels[event.task].append(event)
            case Ran():
                self.ran[event.op].append(event)
            case Stored():
                self.stored.append(event)
            case Wrong():
                self.wrongs.append(event)
            case Apart():
                self.aparts.append(event)
            case Carried():
                self.carried = True
            case Fault():
                self.clock_moved |= "clock" in event.what
                if event.what.startswith("power cut"):
                    self.power_cuts.append(event.at)

    def accepted(self) -> Iterator[tuple[int, str, float]]:
        """Each 202: the submit, its task, and when it was answered."""
        for op, answers in self.answers.items():
            for answer in answers:
                if answer.outcome == "accepted" and answer.task is not None:
                    yield op, answer.task, answer.at

    def final_rows(self) -> dict[str, str]:
        """The states in the last store that was looked at after all had been waited for."""
        finals = [stored for stored in self.stored if stored.final]
        return {row.task: row.state for row in finals[-1].rows} if finals else {}

    def was_apart(self, run: Ran, cancel: Cancelled) -> bool:
        return any(
            run.server in apart.servers and apart.at <= cancel.at and run.at <= apart.until + APART_SLACK
            for apart in self.aparts
        )

    def was_sent(self, task: str) -> bool:
        """Whether workers may have a copy of it, by a broker: it was begun at some time."""
        return self.carried and any(read.attempts > 0 for read in self.seen.get(task, []))

    def may_be_revoked(self, op: int, task: str) -> bool:
        asked = [cancel for cancel in self.cancels.get(task, []) if cancel.outcome not in ("too_late", "missing")]
        return bool(asked) or self.plans[op].expires is not None


Rule = Callable[[Case], Iterator[Offence]]


def accepted_is_known(case: Case) -> Iterator[Offence]:
    """Promise 1: once a 202 has been answered, no read misses its task, and the store has it."""
    for op, task, at in case.accepted():
        for missing in case.missing[task]:
            if missing.sent >= at:
                what = f"accepted at {at:.3f}, a later read answered {missing.http}"
                yield Offence(1, "accepted_is_known", what, task, op, missing.at)
        for stored in case.stored:
            if stored.at >= at and all(row.task != task for row in stored.rows):
                yield Offence(1, "accepted_is_known", "it is not in the store", task, op, stored.at)


def accepted_ends(case: Case) -> Iterator[Offence]:
    """Promise 2: every accepted task has ended when all had been waited for."""
    rows = case.final_rows()
    for op, task, _ in case.accepted():
        reads = case.seen[task]
        ended = any(read.status in TERMINAL for read in reads)
        if rows and rows.get(task) not in TERMINAL:
            yield Offence(2, "accepted_ends", f"at the end it is {rows.get(task)} in the store", task, op)
        elif not ended:
            last = reads[-1].status if reads else "never read"
            yield Offence(2, "accepted_ends", f"never seen ended, last {last}", task, op)


def ends_once(case: Case) -> Iterator[Offence]:
    """Promise 2: whoever has seen a task ended sees the same end for ever: state, result, error, times, history."""
    for task, reads in case.seen.items():
        ends = [read for read in reads if read.status in TERMINAL]
        for end in ends[1:]:
            if end.end != ends[0].end:
                what = f"it ended twice:\n  {ends[0].text}\n  {end.text}"
                yield Offence(2, "ends_once", what, task, case.op_of.get(task), end.at)
                break
        first = min((end.at for end in ends), default=None)
        for read in reads:
            if first is not None and read.sent >= first and read.status not in TERMINAL:
                what = f"ended at {first:.3f}, a later read says {read.status}"
                yield Offence(2, "ends_once", what, task, case.op_of.get(task), read.at)
        for earlier, later in zip(case.stored, case.stored[1:], strict=False):
            before = {row.task: row.state for row in earlier.rows}.get(task)
            after = {row.task: row.state for row in later.rows}.get(task)
            if before in TERMINAL and after != before:
                yield Offence(2, "ends_once", f"the store had {before}, later {after}", task, None, later.at)


def nothing_uncalled_for(case: Case) -> Iterator[Offence]:
    """Promise 1: a task in the store was asked for, and not by a submit that was refused; without doubles."""
    for stored in case.stored[-1:]:
        by_op: dict[int, list[str]] = defaultdict(list)
        for row in stored.rows:
            if row.op is None or row.op not in case.plans:
                yield Offence(1, "nothing_uncalled_for", f"nobody asked for it ({row.op})", row.task, row.op)
                continue
            by_op[row.op].append(row.task)
            if all(answer.outcome == "refused" for answer in case.answers[row.op]) and case.answers[row.op]:
                codes = [answer.code for answer in case.answers[row.op]]
                yield Offence(1, "nothing_uncalled_for", f"its submit was refused: {codes}", row.task, row.op)
        for op, tasks in by_op.items():
            # Without a key each try may have made one; only the last of them can have been answered.
            if len(tasks) > 1 and (case.plans[op].key is not None or len(tasks) > len(case.answers[op])):
                yield Offence(1, "nothing_uncalled_for", f"one submit made {len(tasks)} tasks", tasks[1], op)


def one_task_per_key(case: Case) -> Iterator[Offence]:
    """Promise 1: one key is one task, whatever was lost and sent again."""
    answered: dict[str, set[str]] = defaultdict(set)
    for op, task, _ in case.accepted():
        if key := case.plans[op].key:
            answered[key].add(task)
    for stored in case.stored:
        for row in stored.rows:
            if row.key is not None:
                answered[row.key].add(row.task)
    for key, tasks in answered.items():
        if len(tasks) > 1:
            yield Offence(1, "one_task_per_key", f"the key {key} has the tasks {sorted(tasks)}", min(tasks))


def result_matches(case: Case) -> Iterator[Offence]:
    """Promise 5: a task gets the result of its own input, and fails only if that input does."""
    for task, reads in case.seen.items():
        op = case.op_of.get(task)
        if op is None:
            continue
        plan = case.plans[op]
        for read in reads:
            if read.status == "SUCCESS" and read.result != plan.expected:
                what = f"{plan.kind} gave {read.result}, right is {plan.expected}: {read.text}"
                yield Offence(5, "result_matches", what, task, op, read.at)
            elif read.status == "FAILURE" and read.error not in plan.may_fail:
                what = f"{plan.kind} failed with {read.error}: {read.text}"
                yield Offence(5, "result_matches", what, task, op, read.at)
            else:
                continue
            break


def revoked_for_a_reason(case: Case) -> Iterator[Offence]:
    """Promise 4: only what was cancelled or could expire is revoked."""
    for task, reads in case.seen.items():
        op = case.op_of.get(task)
        revoked = [read for read in reads if read.status == "REVOKED"]
        if op is not None and revoked and not case.may_be_revoked(op, task):
            yield Offence(4, "revoked_for_a_reason", f"nobody did: {revoked[0].text}", task, op, revoked[0].at)


def cancel_tells_the_truth(case: Case) -> Iterator[Offence]:
    """Promise 4: a cancel says what became of the task, and that is so from then on."""
    for task, cancels in case.cancels.items():
        op = case.op_of.get(task)
        for cancel in cancels:
            if cancel.outcome not in ("before", "during", "too_late"):
                continue
            said = cancel.status if cancel.outcome == "too_late" else "REVOKED"
            if said not in TERMINAL:
                what = f"too late to cancel, and yet {said}"
                yield Offence(4, "cancel_tells_the_truth", what, task, op, cancel.at)
            for read in case.seen[task]:
                if read.sent >= cancel.at and read.status != said:
                    what = f"a cancel said {cancel.outcome} ({said}) at {cancel.at:.3f}, later {read.status}"
                    yield Offence(4, "cancel_tells_the_truth", what, task, op, read.at)
                    break


def cancelled_never_runs(case: Case) -> Iterator[Offence]:
    """Promise 4: a task that was stopped before it ran does not run afterwards.

    But for a run of a server that was apart when it was stopped: it may have been leased to that one before. And over a
    broker for one that was sent before, and waited to be tried again: the workers may have a copy of it.
    """
    for task, cancels in case.cancels.items():
        op = case.op_of.get(task)
        for cancel in cancels:
            if cancel.outcome != "before" or op is None or case.was_sent(task):
                continue
            late = [run for run in case.ran[op] if run.at > cancel.at + CLOCK_SLACK]
            if ran := [run for run in late if not case.was_apart(run, cancel)]:
                what = f"stopped before it ran at {cancel.at:.3f}, ran at {ran[0].at:.3f}"
                yield Offence(4, "cancelled_never_runs", what, task, op, ran[0].at)


def cancel_finds_it(case: Case) -> Iterator[Offence]:
    """Promise 1: once a 202 has been answered, no cancel misses its task."""
    for op, task, at in case.accepted():
        for cancel in case.cancels[task]:
            if cancel.outcome == "missing" and cancel.sent >= at:
                yield Offence(1, "accepted_is_known", "a cancel did not find it", task, op, cancel.at)


def starts_when_due(case: Case) -> Iterator[Offence]:
    """Promise 4: a delayed task does not start early. The wall clock decides, so a moved one excuses."""
    if case.clock_moved:
        return
    for op, plan in case.plans.items():
        for run in case.ran[op]:
            if plan.countdown is not None and run.at < case.asked_at[op] + plan.countdown - CLOCK_SLACK:
                early = case.asked_at[op] + plan.countdown - run.at
                yield Offence(4, "starts_when_due", f"ran {early:.3f} s early", None, op, run.at)


def success_has_run(case: Case) -> Iterator[Offence]:
    """Promise 3: what succeeded was computed, and as often as it asked to be."""
    for task, reads in case.seen.items():
        op = case.op_of.get(task)
        if op is None or all(read.status != "SUCCESS" for read in reads):
            continue
        needed = case.plans[op].retries + 1
        if len(case.ran[op]) < needed:
            what = f"a success, computed {len(case.ran[op])} times, needs {needed}"
            yield Offence(3, "success_has_run", what, task, op, reads[-1].at)


def counts_only_grow(case: Case) -> Iterator[Offence]:
    """Promise 3: attempts, retries and the history of a task only grow, in the order of its attempts."""
    for task, reads in case.seen.items():
        op = case.op_of.get(task)
        for read in reads:
            if list(read.history) != sorted(set(read.history)):
                yield Offence(3, "counts_only_grow", f"its history is {read.history}", task, op, read.at)
                break
            if read.history and read.history[-1] > read.attempts:
                what = f"{read.attempts} attempts, and a history of {read.history}"
                yield Offence(3, "counts_only_grow", what, task, op, read.at)
                break
        latest: Seen | None = None
        for read in sorted(reads, key=time_of):
            if latest is not None and read.sent >= latest.at:
                shrunk = read.attempts < latest.attempts or read.retries < latest.retries
                # Only the newest entries of a long history are kept.
                lost = {entry for entry in latest.history if entry not in read.history}
                # That a task was begun is not flushed: after a power cut nobody computes it any more.
                forgotten = any(latest.sent < cut < read.at for cut in case.power_cuts)
                if forgotten:
                    pass
                elif shrunk or (lost and max(lost) > min(read.history, default=0)):
                    what = f"it shrank:\n  {latest.text}\n  {read.text}"
                    yield Offence(3, "counts_only_grow", what, task, op, read.at)
                    break
            if latest is None or read.sent >= latest.at:
                latest = read


def nothing_is_wrong(case: Case) -> Iterator[Offence]:
    """Facts that are offences by themselves."""
    for wrong in case.wrongs:
        yield Offence(wrong.promise, wrong.rule, wrong.what, None, None, wrong.at)


RULES: tuple[Rule, ...] = (
    accepted_is_known,
    accepted_ends,
    ends_once,
    nothing_uncalled_for,
    one_task_per_key,
    result_matches,
    revoked_for_a_reason,
    cancel_tells_the_truth,
    cancelled_never_runs,
    cancel_finds_it,
    starts_when_due,
    success_has_run,
    counts_only_grow,
    nothing_is_wrong,
)


def check(events: Iterable[Event]) -> list[Offence]:
    """Every offence against every rule."""
    case = Case(events)
    return [offence for rule in RULES for offence in rule(case)]


def report(offence: Offence, events: list[Event]) -> str:
    """An offence, with what happened to its task and the faults near it."""
    zero = min((event.at for event in events), default=0.0)
    case = Case(events)
    op = offence.op if offence.op is not None else case.op_of.get(offence.task or "")
    task = offence.task or next((made for other, made, _ in case.accepted() if other == op), None)
    about: list[Event] = [event for event in events if _is_about(event, task, op)]
    near = sorted((e for e in events if isinstance(e, Fault)), key=lambda e: abs(e.at - offence.at))
    shown = render([*about, *near[:FAULTS_SHOWN]], zero)
    who = f" (task {task}, submit {op})" if task or op is not None else ""
    return f"promise {offence.promise}, {offence.rule}{who}: {offence.what}\n{shown}"


def _is_about(event: Event, task: str | None, op: int | None) -> bool:
    match event:
        case Asked():
            return event.plan.op == op
        case Answered() | Ran():
            return event.op == op
        case Seen() | Missing() | Cancelled():
            return event.task == task
        case _:
            return False
