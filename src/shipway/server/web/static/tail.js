"use strict";
// Adds the lines that come after those the server put into the page. Text only: nothing of a
// log is ever read as HTML.
(() => {
  const LINES_LIMIT = 5000;
  const log = document.getElementById("log");
  if (!log || !window.EventSource) return;
  const source = new EventSource(log.dataset.tail);
  source.addEventListener("line", (event) => {
    const data = JSON.parse(event.data);
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    const line = document.createElement("span");
    line.className = "line " + data.stream;
    for (const [classes, text] of data.pieces) {
      const piece = document.createElement("span");
      piece.className = classes;
      piece.textContent = text;
      line.append(piece);
    }
    log.append(line, "\n");
    while (log.childNodes.length > 2 * LINES_LIMIT) log.firstChild.remove();
    if (atEnd) log.scrollTop = log.scrollHeight;
  });
  source.addEventListener("end", () => {
    source.close();
    window.setTimeout(() => window.location.reload(), 500);
  });
  log.scrollTop = log.scrollHeight;
})();
