// The page of the Gradio screen. `element` and `server` are Gradio's: the component, and its functions in Python.
const find = (selector) => element.querySelector(selector);
const root = find(".it-page");
const most = Number(root.dataset.most), maxBytes = Number(root.dataset.maxBytes), atOnce = 3;
const input = find(".it-input"), drop = find(".it-drop"), status = find(".it-status"), progress = find(".it-progress");
const list = find(".it-list"), body = find(".it-list tbody"), shown = find(".it-detail"), tools = find(".it-tools");
const again = find(".it-again"), stop = find(".it-stop");
let results = [], run = 0, running = false;

const say = (text) => { status.textContent = text; };
const base64 = (file) => new Promise((resolve, reject) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
  reader.onerror = () => reject(reader.error);
  reader.readAsDataURL(file);
});

// One picture to what the page shows of it; whatever goes wrong is a result too.
async function ask(picture) {
  try {
    if (picture.address) return await server.check_address([picture.address]);
    if (picture.file.size > maxBytes) return await server.explain_fault(["too_many_bytes", picture.name]);
    return await server.check([picture.name, await base64(picture.file)]);
  } catch (error) {
    const told = root.querySelector("template.it-lost").content.firstElementChild.cloneNode(true);
    told.querySelector(".it-name").textContent = picture.name;
    const line = root.querySelector("template.it-lost-row").content.querySelector("tr").cloneNode(true);
    line.querySelector(".it-show").textContent = picture.name;
    line.dataset.name = picture.name.toLowerCase();
    return { failed: true, detail: told.outerHTML, row: line.outerHTML, said: `${picture.name}: the screen does not answer.`,
      csv: "", record: { name: picture.name, error: { code: "no_screen", message: "The screen does not answer." } } };
  }
}

async function check(pictures) {
  if (!pictures.length) return;
  const mine = ++run, left = pictures.slice(0, most);
  results = left.map((picture) => ({ picture, answer: null }));
  await work(mine, results.slice(), pictures.length > most ? ` Only the first ${most} of ${pictures.length} are taken.` : "");
}

async function work(mine, waiting, note) {
  const all = waiting.length;
  let done = 0, failed = 0;
  running = true;
  list.hidden = results.length < 2;
  again.hidden = true;
  stop.hidden = all < 2;
  draw();
  if (!list.hidden) shown.replaceChildren();
  else shown.innerHTML = '<div class="it-card it-waiting"><p>Asking about the picture …</p></div>';
  progress.max = all;
  progress.value = 0;
  progress.classList.add("it-on");
  say(`Checking ${all === 1 ? results[0].picture.name : all + " pictures"} …${note}`);
  const worker = async () => {
    for (let result; mine === run && (result = waiting.shift());) {
      const answer = await ask(result.picture);
      if (mine !== run) return;
      result.answer = answer;
      done += 1;
      failed += answer.failed;
      progress.value = done;
      draw();
      if (all > 1) say(`${done} of ${all} checked${failed ? `, ${failed} without an answer` : ""}.${note}`);
      else say(answer.said);
      if (results.length === 1) show(0, false);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  if (mine === run) end();
}

function end() {
  running = false;
  progress.classList.remove("it-on");
  stop.hidden = true;
  results = results.filter((result) => result.answer);
  again.hidden = !results.some((result) => result.answer.failed);
  draw();
}

function draw() {
  body.innerHTML = results.map((result, number) =>
    result.answer ? result.answer.row.replace('data-number="0"', `data-number="${number}"`) : "").join("");
  arrange();
}

function arrange() {
  const sorted = find(".it-table [aria-sort=ascending], .it-table [aria-sort=descending]");
  const text = find(".it-filter").value.toLowerCase(), verdict = find(".it-filter-verdict").value;
  const rows = [...body.rows];
  if (sorted) {
    const key = sorted.querySelector("button").dataset.key, sign = sorted.getAttribute("aria-sort") === "ascending" ? 1 : -1;
    const value = (row) => row.dataset[key];
    const isNumber = key === "probability" || key === "verdict";
    rows.sort((a, b) => sign * (isNumber ? value(a) - value(b) : value(a).localeCompare(value(b))));
    body.append(...rows);
  }
  let count = 0;
  for (const row of rows) {
    row.hidden = !row.dataset.name.includes(text) || (verdict && row.dataset.key !== verdict);
    count += !row.hidden;
  }
  find(".it-count").textContent = `${count} of ${rows.length} shown`;
}

function show(number, isChosen) {
  shown.innerHTML = results[number].answer.detail;
  for (const row of body.rows) row.classList.toggle("it-shown", row.querySelector(".it-show").dataset.number === String(number));
  if (!isChosen) return;
  const title = shown.querySelector("h2");
  title.tabIndex = -1;
  title.focus({ preventScroll: true });
  shown.scrollIntoView({ block: "start", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
}

function save(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

const named = (files) => [...files].map((file) => ({ name: file.name || "pasted picture", file }));
input.addEventListener("change", () => { check(named(input.files)); input.value = ""; });
element.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("it-over"); });
element.addEventListener("dragleave", () => drop.classList.remove("it-over"));
element.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("it-over");
  check(named(event.dataTransfer.files));
});
document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) { event.preventDefault(); check(named(event.clipboardData.files)); }
});
find(".it-address")?.addEventListener("submit", (event) => {
  event.preventDefault();
  const address = find(".it-address input").value.trim();
  if (address) check([{ name: address, address }]);
});
element.addEventListener("input", (event) => {
  if (event.target.matches(".it-opacity")) {
    const figure = event.target.closest("figure");
    figure.style.setProperty("--heat", event.target.value / 100);
    figure.querySelector("output").textContent = `${event.target.value} %`;
  } else if (event.target.closest(".it-tools")) arrange();
});
element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.matches(".it-show")) show(Number(button.dataset.number), true);
  else if (button.matches(".it-sort")) {
    const head = button.closest("th"), next = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    for (const other of find(".it-table").querySelectorAll("[aria-sort]")) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", next);
    arrange();
  } else if (button.matches(".it-stop")) { run += 1; end(); say(`Stopped. ${results.length} checked.`); }
  else if (button.matches(".it-again")) work(++run, results.filter((result) => result.answer.failed), "");
  else if (button.matches(".it-csv"))
    save("imagetrust.csv", "text/csv;charset=utf-8", root.dataset.header + results.map((result) => result.answer?.csv ?? "").join(""));
  else if (button.matches(".it-json"))
    save("imagetrust.json", "application/json", JSON.stringify(results.flatMap((result) => result.answer ? [result.answer.record] : []), null, 1));
});
server.problem([]).then((told) => { if (told) find(".it-problem").innerHTML = told; }).catch(() => {});
document.title = "ImageTrust";
root.dataset.loaded = "yes";
