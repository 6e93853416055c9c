"""The review page as its evaluator uses it: what is on it, and hands that wait until they have seen it."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

# Resolves when the output has been on the screen for longer than the page asks of a judgement. The page
# counts from the second frame that shows it, and frames may be far apart: counting begins at the third.
_SEEN = """([longerThan, patience]) => new Promise((resolve, reject) => {
    let since = null, shown = null, frames = 0;
    setTimeout(() => reject(new Error('no image can be judged')), patience);
    const look = (now) => {
        const image = document.querySelector('[data-layer="output"] img');
        const source = image?.complete ? image.src : null;
        frames = source !== null && source === shown ? frames + 1 : 1;
        if (frames <= 3) { shown = source; since = now; }
        if (source !== null && now - since > longerThan) resolve(source);
        else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
})"""
SEEN_MS = 240
PATIENCE_MS = 45_000


class ReviewPage:
    """One tab with the review page of a queue."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.brief = page.locator('[data-ref="brief"]')
        self.note = page.locator('[data-ref="note"]')
        self.flag = page.locator('[data-ref="flag"]')
        self.place = page.locator('[data-ref="placeText"]')
        self.notices = page.locator('[data-ref="notices"]')
        self.waiting = page.locator('[data-ref="waiting"]')
        self.progress = page.locator('[data-ref="progressText"]')
        self.end = page.locator('[data-ref="stageTitle"]')
        self.stage = page.locator('[data-ref="stage"]')

    def see(self) -> str:
        """Wait until the item on the screen can be judged, and return its assignment's id."""
        source: str = self.page.evaluate(_SEEN, [SEEN_MS, PATIENCE_MS])
        found = re.search(r"/review/images/([0-9a-f-]{36})/output", source)
        assert found, source
        return found[1]

    def press(self, key: str) -> str:
        """Press a key once the item has been seen; return the id of the item it was pressed on."""
        seen = self.see()
        self.page.keyboard.press(key)
        return seen

    def rate(self, level: int) -> str:
        """Rate the item by keyboard and wait for what comes next; return the id of the rated one."""
        rated = self.press(str(level))
        self.expect_another_than(rated)
        return rated

    def expect_another_than(self, assignment: str) -> None:
        """Wait until this item is no longer on the screen."""
        expect(self.page.locator(f'[data-layer="output"] img[src*="{assignment}"]')).to_have_count(0)

    def expect_item(self, assignment: str) -> None:
        """Wait until this item is on the screen."""
        expect(self.page.locator(f'[data-layer="output"] img[src*="{assignment}"]')).to_be_visible()

    def expect_level(self, level: int | None) -> None:
        """Wait until this level, or none, is shown as chosen."""
        chosen = self.page.locator('[data-ref="levels"] [aria-pressed="true"]')
        if level is None:
            expect(chosen).to_have_count(0)
        else:
            expect(chosen).to_have_attribute("data-level", str(level))

    def expect_all_sent(self) -> None:
        """Wait until nothing is kept on this device any more."""
        self.page.wait_for_function(
            "() => !Object.keys(localStorage).some((key) => key.startsWith('mayagen:outbox:'))"
        )

    @property
    def is_at_end(self) -> bool:
        """Whether nothing is due."""
        return self.end.is_visible() and "Nothing is due" in self.end.inner_text()
