"""What is still under way, and so no loss yet."""

from headrace.ops.audit.evidence import AcceptedRequest, Evidence, LogRecord, Submission
from streams.pipeline import COST, STAGES

#: What the end of a request may take beyond its deadline: it is noticed, settled, and sent.
GRACE_MS = 30_000

#: The group that takes in the requests of each topic.
_GROUP_OF_TOPIC = {spec.source.name: spec.group for spec in STAGES}


class WorkInProgress:
    """Answers from the positions of the consumer groups, as they were before the topics were read."""

    def __init__(self, evidence: Evidence) -> None:
        kafka = evidence.kafka
        self._now_ms = evidence.taken_at_ms
        self._groups = {each.group: each for each in kafka.stages}
        self._sink = kafka.sink
        unfinished = [each.oldest_ms for each in kafka.stages if each.oldest_ms is not None]
        #: Every stage has finished what was written before this time.
        self._finished_ms = min(unfinished, default=self._now_ms)
        waiting = [
            retry
            for retry in kafka.retries
            if not (
                all(group.has_finished(retry.partition, retry.offset) for group in kafka.retrying)
                if kafka.retrying
                else retry.not_before_ms <= self._now_ms
            )
        ]
        self.retries_waiting = len(waiting)
        self._retried = {retry.request_id for retry in waiting}
        # The relay has brought these back: a stage that has anything to do may have theirs.
        self._brought_back = {retry.request_id for retry in kafka.retries} if unfinished else set()

    def may_answer(self, request_id: str, request: AcceptedRequest) -> bool:
        """Whether a terminal reply may still come of the stages' own accord.

        That is so until its deadline, and after it as long as any stage still has a record in hand that was
        written before that.
        """
        over_ms = request.deadline_ms + GRACE_MS
        return (
            over_ms > min(self._now_ms, self._finished_ms)
            or request_id in self._retried
            or request_id in self._brought_back
            or not self._is_taken_in(request.first)
        )

    def may_tell(self, submission: Submission) -> bool:
        """Whether no stage may have come to this submission, or what it sent is still on its way."""
        return self._now_ms < submission.at_ms + GRACE_MS or not self._is_taken_in(submission)

    def has_settled(self, replied_at_ms: int) -> bool:
        """Whether everything that the cost stage sends with a reply of this time is sent."""
        cost = self._groups.get(COST.group)
        return cost is None or cost.oldest_ms is None or cost.oldest_ms > replied_at_ms

    def has_row(self, log: LogRecord) -> bool:
        """Whether the sink has committed the log record: its rows were in ClickHouse before that."""
        return self._sink is not None and self._sink.has_finished(log.partition, log.offset)

    def _is_taken_in(self, submission: Submission) -> bool:
        found = self._groups.get(_GROUP_OF_TOPIC[submission.topic])
        return found is not None and found.has_finished(submission.partition, submission.offset)
