/* stalls.js: the latest stalls, as a list and one of them in full, and what they tell of the loops' lag.
 *
 * They are of three kinds: a loop that is held, a pool's worker that hangs, and a pool that starves, which is nobody's
 * doing: of it is told what its threads wait for.  Of the loops' lag only those of loops tell.
 *
 * The reader chooses one; until then the newest that names a route or a pool is shown.  What is shown in full is built anew only
 * when what is told of it has changed, so that a selection in the text survives.
 */
import * as f from "./figures.js";
import { byId, element, keyed, put } from "./dom.js";

/* ---- lag ---- */

const ofLoops = stalls => (stalls || []).filter(s => s.kind === "loop");

export function heldLoops(stalls) {
	return ofLoops(stalls).filter(s => s.ongoing);
}

let ended = null;       /* ids of the stalls that were over when last looked at */

/* A histogram knows the longest lag's bucket only; the stalls since the last look, and those that go on, know better. */
export function longestLag(lag, stalls) {
	const all = ofLoops(stalls), fresh = all.filter(s => s.ongoing || (ended && !ended.has(s.id))).map(s => s.ms / 1000);
	const exact = Math.max(0, ...fresh), bucket = f.longest(lag);
	ended = new Set(all.filter(s => !s.ongoing).map(s => s.id));
	if (!bucket)
		return exact || null;
	return exact > f.below(lag, bucket.value) ? exact : bucket.value;
}

/* ---- the list ---- */

const CAUSES = { cpu: "CPU", blocked: "blocked", runnable: "no CPU free", late: "not watched" };
let chosen = null;      /* the id of the stall that the reader chose; else the newest is shown */

function milliseconds(ms) {
	return f.time(ms / 1000);
}

const starved = s => s.kind === "pool";

function stallName(s) {
	return starved(s) ? `pool ${s.pool}` : s.name || "no route";
}

/* What the list says beside it: more than that is in the one shown in full. */
function stallMore(s) {
	return starved(s) ? s.text || "" : s.pool ? `pool ${s.pool}` : "";
}

function setCause(node, s) {
	const cause = starved(s) ? "starved" : s.cause;
	put(node, CAUSES[cause] || cause);
	node.dataset.cause = cause;
}

function makeStall(s) {
	const item = element("li"), button = element("button");
	button.type = "button";
	for (const part of ["time", "name", "cause", "ms", "more"])
		button.append(element("span", part));
	button.addEventListener("click", () => {
		chosen = s.id;
		showStalls(lastStalls);
	});
	item.append(button);
	return item;
}

function updateStall(item, s) {
	const part = name => item.querySelector("." + name);
	put(part("time"), f.clock(new Date(s.time)));
	put(part("name"), stallName(s));
	setCause(part("cause"), s);
	put(part("ms"), milliseconds(s.ms) + (s.ongoing ? " …" : ""));
	put(part("more"), stallMore(s));
	item.firstElementChild.setAttribute("aria-current", String(s.id === shownStall));
}

const PARTS = [["cpu_ms", "on CPU"], ["blocked_ms", "blocked"], ["runnable_ms", "waiting for a CPU"],
	["late_ms", "not watched"]];

function fact(list, name, text) {
	if (text)
		list.append(element("dt", "", name), element("dd", "", text));
}

/* Where its time went, and in what. */
function describeHold(box, s) {
	const facts = element("dl", "facts"), stack = element("ol", "stack"), bar = element("div", "parts");
	const place = s.kind === "loop" ? `loop ${s.loop}` : `a thread of pool ${s.pool}`;
	const parts = PARTS.map(([key, name]) => [key, name, (s.parts && s.parts[key]) || 0]).filter(p => p[2] > 0);

	for (const [key, name, ms] of parts) {
		const piece = element("span", key);
		piece.style.flexGrow = ms;
		piece.title = `${name}: ${milliseconds(ms)}`;
		bar.append(piece);
	}
	fact(facts, "Held", `${milliseconds(s.ms)}${s.ongoing ? ", and still does" : ""}, ${place}`);
	fact(facts, "Time", parts.map(([, name, ms]) => `${milliseconds(ms)} ${name}`).join(", "));
	fact(facts, "In", s.syscall || (s.state === "running" ? "its own code" : ""));
	if (s.kind === "loop")
		fact(facts, "Requests that waited", String(s.victims ?? f.NONE));
	for (const frame of s.stack || []) {
		const line = element("li", frame.probable ? "probable" : "", frame.at || String(frame));
		if (frame.probable)
			line.title = "searched for on the stack, or found by one that was";
		stack.append(line);
	}
	box.replaceChildren(element("h3", "", stallName(s)), bar, facts, stack);
	if (!stack.children.length)
		stack.replaceWith(element("p", "quiet", s.no_stack ? `No stack: ${s.no_stack}.` : "No stack was taken."));
}

function describeStarved(box, s) {
	const facts = element("dl", "facts");
	fact(facts, "Starved", milliseconds(s.ms) + (s.ongoing ? ", and still is" : ""));
	fact(facts, "All threads busy", s.text);
	box.replaceChildren(element("h3", "", stallName(s)), facts);
}

let lastStalls = null, shownStall = null, shownText = "";

export function showStalls(stalls) {
	lastStalls = stalls;
	const list = stalls || [];
	const s = list.find(one => one.id === chosen) || list.find(one => one.name || starved(one)) || list[0];
	shownStall = s ? s.id : null;
	put(byId("stalls-count"), list.length ? `the latest ${list.length}` : "");
	keyed(byId("stall-list"), list, one => one.id, makeStall, updateStall);
	byId("stalls").classList.toggle("none", !s);
	const text = JSON.stringify(s || null);
	if (text === shownText)
		return;
	shownText = text;
	if (s)
		(starved(s) ? describeStarved : describeHold)(byId("stall"), s);
	else
		byId("stall").replaceChildren(element("p", "quiet", stalls === null ?
			"This server tells of no stalls." : "None: no handler has held a loop for too long."));
}
