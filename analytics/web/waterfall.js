// A request's time, piece by piece: every moment of its latency is in exactly one of them.

const US = 1_000;
const micros = (value) => Math.round(value * US);

/**
 * Divide the latency among the stages. Times in milliseconds, from the request's acceptance.
 *
 * For each stage: `way` (from the end of the one before until its record began to wait), `queue` and `work`; and
 * `after`, from the end of the last one to the reply. A moment that two claim counts for the earlier one
 * (`overlap` says how much that is: Kafka's times are whole milliseconds). All pieces together are the latency.
 */
export function divide(stages, latencyMs) {
  const end = micros(latencyMs);
  let at = 0;
  let overlap = 0;
  const until = (value) => {
    const to = Math.min(Math.max(micros(value), at), end);
    const piece = { from: at / US, to: to / US, length: (to - at) / US };
    at = to;
    return piece;
  };
  const pieces = stages.map((stage) => {
    overlap += Math.max(0, at - micros(stage.queued_ms));
    return { stage, way: until(stage.queued_ms), queue: until(stage.started_ms), work: until(stage.ended_ms) };
  });
  const after = until(latencyMs);
  return { pieces, after, overlap: overlap / US, sums: sums(pieces, after) };
}

function sums(pieces, after) {
  const sum = (name) => pieces.reduce((total, piece) => total + micros(piece[name].length), 0);
  const [way, queue, work, rest] = [sum("way"), sum("queue"), sum("work"), micros(after.length)];
  return { way: way / US, queue: queue / US, work: work / US, after: rest / US, all: (way + queue + work + rest) / US };
}
