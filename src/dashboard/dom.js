/* dom.js: how the page is changed.
 *
 * It is built once and changed in place, by textContent only: what an app calls its routes is text, never markup.  The
 * rows of a list keep their identity, by a key.  Nothing here knows what is shown.
 */
export const byId = id => document.getElementById(id);

export function element(name, className, text) {
	const e = document.createElement(name);
	if (className)
		e.className = className;
	if (text !== undefined)
		e.textContent = text;
	return e;
}

/* Writes only what changes, so that a selection in the text survives. */
export function put(node, text) {
	if (node.textContent !== text)
		node.textContent = text;
}

/* Children of parent by key, in the order of items: made by make(item), brought up to date by update(node, item). */
export function keyed(parent, items, key, make, update) {
	const old = new Map([...parent.children].map(child => [child.dataset.key, child]));
	let at = parent.firstElementChild;
	for (const item of items) {
		const k = String(key(item));
		let node = old.get(k);
		if (node)
			old.delete(k);
		else {
			node = make(item);
			node.dataset.key = k;
		}
		if (node === at)
			at = at.nextElementSibling;
		else
			parent.insertBefore(node, at);
		update(node, item);
	}
	for (const node of old.values())
		node.remove();
}
