/* figures.js: from what the control plane tells to the figures that the page shows.
 *
 * /metrics is read into a snapshot: plain samples, and histograms as cumulative counts.  Counters mean little by
 * themselves, so what is shown is the difference between two snapshots: one second apart for the charts, ten for the
 * tables.  A histogram knows a time only within its bucket.  Tiles and tables show its bound as "less than", or past the
 * last one as "more than", never as a number we do not have; charts, which would be stairs, interpolate inside it.
 *
 * Nothing here touches the page.
 */

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;
const WANTED = /^(http_server_request_duration_seconds|offloop_|process_(start_time|cpu|resident|open|max))/;

function unescape(text) {
	return text.replace(/\\(.)/g, (_, c) => (c === "n" ? "\n" : c));
}

function labelsOf(text) {
	const labels = {};
	for (const [, name, value] of (text || "").matchAll(LABEL))
		labels[name] = unescape(value);
	return labels;
}

/* A page of Prometheus's text as {at, samples: name -> [{labels, value}], hists: name -> key -> histogram}; at is in
 * milliseconds. */
export function snapshot(text, at) {
	const samples = new Map(), hists = new Map();

	for (const line of text.split("\n")) {
		const found = line.startsWith("#") || !WANTED.test(line) ? null : LINE.exec(line);
		if (!found)
			continue;
		const [, name, labelText, valueText] = found;
		const labels = labelsOf(labelText), value = Number(valueText);
		const part = /^(.*)_(bucket|sum|count)$/.exec(name);
		if (part)
			addToHist(hists, part[1], part[2], labels, value);
		else if (samples.has(name))
			samples.get(name).push({ labels, value });
		else
			samples.set(name, [{ labels, value }]);
	}
	return { at, samples, hists };
}

function addToHist(hists, name, part, labels, value) {
	const { le, ...rest } = labels;
	const key = JSON.stringify(rest);

	if (!hists.has(name))
		hists.set(name, new Map());
	const family = hists.get(name);
	if (!family.has(key))
		family.set(key, { labels: rest, le: [], n: [], sum: 0, count: 0 });
	const hist = family.get(key);
	if (part === "bucket") {
		hist.le.push(le === "+Inf" ? Infinity : Number(le));
		hist.n.push(value);
	} else {
		hist[part] = value;
	}
}

function matches(labels, wanted) {
	return Object.entries(wanted).every(([name, value]) => labels[name] === value);
}

/* The sum of a metric's samples that carry these labels; null when there is none. */
export function total(snap, name, wanted = {}) {
	const found = (snap.samples.get(name) || []).filter(s => matches(s.labels, wanted));
	return found.length ? found.reduce((sum, s) => sum + s.value, 0) : null;
}

/* How much a counter has grown per second between two snapshots; null when there is no such counter. */
export function rate(now, then, name, wanted = {}) {
	const value = total(now, name, wanted);
	if (value === null || !then)
		return null;
	return Math.max(0, value - (total(then, name, wanted) || 0)) / seconds(now, then);
}

/* What part of what both counters have gained between two snapshots the first one has; null when that is nothing. */
export function share(now, then, name, rest, wanted = {}) {
	const mine = rate(now, then, name, wanted), others = rate(now, then, rest, wanted);
	return mine + others > 0 ? mine / (mine + others) : null;
}

export function seconds(now, then) {
	return Math.max(0.001, (now.at - then.at) / 1000);
}

/* What a family of histograms has gained between two snapshots, over all that accept(labels) admits. */
export function gained(now, then, name, accept = () => true) {
	const sum = { le: [], n: [], sum: 0, count: 0 };
	const before = (then && then.hists.get(name)) || new Map();

	for (const [key, hist] of now.hists.get(name) || []) {
		if (!accept(hist.labels))
			continue;
		const old = before.get(key);
		if (!sum.le.length) {
			sum.le = hist.le;
			sum.n = hist.le.map(() => 0);
		}
		hist.n.forEach((n, i) => { sum.n[i] += n - (old ? old.n[i] : 0); });
		sum.sum += hist.sum - (old ? old.sum : 0);
		sum.count += hist.count - (old ? old.count : 0);
	}
	return sum;
}

/* A quantile in seconds: {value, bound}, where bound is "<" or ">" when value is only a limit; null without samples. */
export function quantile(hist, q) {
	if (!(hist.count > 0))
		return null;
	const rank = q * hist.count;
	const i = hist.n.findIndex(n => n >= rank && n > 0);
	if (i <= 0)
		return { value: hist.le[0], bound: "<" };
	if (hist.le[i] === Infinity)
		return { value: hist.le[i - 1], bound: ">" };
	const low = hist.le[i - 1], inside = hist.n[i] - hist.n[i - 1];
	return { value: low + (hist.le[i] - low) * (rank - hist.n[i - 1]) / inside, bound: "" };
}

/* The bound of a quantile's bucket, as a quantile: for figures that are to be believed to their last digit. */
export function atMost(hist, q) {
	if (!(hist.count > 0))
		return null;
	const i = hist.n.findIndex(n => n >= q * hist.count && n > 0);
	return hist.le[i] === Infinity ? { value: hist.le[i - 1], bound: ">" } : { value: hist.le[i], bound: "<" };
}

/* The bound of the longest, as a quantile. */
export function longest(hist) {
	if (!(hist.count > 0))
		return null;
	const i = hist.n.findIndex(n => n === hist.n[hist.n.length - 1]);
	return hist.le[i] === Infinity ? { value: hist.le[i - 1], bound: ">" } : { value: hist.le[i], bound: "<" };
}

/* The bound below that of a bucket. */
export function below(hist, bound) {
	return Math.max(0, ...hist.le.filter(le => le < bound));
}

/* ---- as text ---- */

export const NONE = "–";

function digits(v) {
	return v >= 100 ? v.toFixed(0) : v >= 10 ? v.toFixed(1) : v.toFixed(2);
}

/* A count or a rate in at most five characters. */
export function short(v) {
	if (v === null || v === undefined)
		return NONE;
	if (v >= 1e6)
		return digits(v / 1e6) + " M";
	if (v >= 1e4)
		return digits(v / 1e3) + " k";
	return v >= 100 || Number.isInteger(v) ? v.toFixed(0) : v < 0.05 ? "0" : v.toFixed(1);
}

/* Seconds as text with a unit; takes a number or a quantile. */
export function time(v) {
	if (v === null || v === undefined)
		return NONE;
	if (typeof v === "object")
		return v.bound + (v.bound && " ") + time(v.value);
	const ms = v * 1000;
	if (ms < 1)
		return ms < 0.1 ? (ms * 1000).toFixed(0) + " µs" : ms.toFixed(2) + " ms";
	return ms < 1000 ? digits(ms) + " ms" : digits(v) + " s";
}

export function percent(v) {
	return v === null || v === undefined ? NONE : (v * 100).toFixed(v < 0.0995 ? 1 : 0) + " %";
}

export function duration(s) {
	const days = Math.floor(s / 86400), hours = Math.floor(s / 3600) % 24, minutes = Math.floor(s / 60) % 60;
	if (days)
		return `${days} d ${hours} h`;
	if (hours)
		return `${hours} h ${minutes} min`;
	return minutes ? `${minutes} min ${Math.floor(s) % 60} s` : `${Math.floor(s)} s`;
}

export function clock(date) {
	return [date.getHours(), date.getMinutes(), date.getSeconds()].map(n => String(n).padStart(2, "0")).join(":");
}
