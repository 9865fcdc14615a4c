// When things are drawn: at most once a frame, and not more often than somebody can read.

/**
 * A function that draws soon: however often it is called, `draw` runs once a frame, and once in `pause` milliseconds. A page
 * that is not seen draws nothing.
 */
export function drawing(draw, pause = 0) {
  let due = false;
  let last = -Infinity;
  const run = (now) => {
    if (now - last < pause) {
      setTimeout(() => requestAnimationFrame(run), pause - (now - last));
      return;
    }
    due = false;
    last = now;
    draw();
  };
  return () => {
    if (due) return;
    due = true;
    requestAnimationFrame(run);
  };
}

/** Calls at once and every `pause` milliseconds while the page is seen. Returns what ends it. */
export function ticking(call, pause) {
  call();
  const timer = setInterval(() => document.hidden || call(), pause);
  return () => clearInterval(timer);
}
