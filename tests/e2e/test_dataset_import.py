"""An archive becomes a dataset in the admin: handed in, checked, imported, seen with its pictures."""

from __future__ import annotations

import io
import re
import zipfile

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.e2e.conftest import Desk
from tests.e2e.product import Product

pytestmark = pytest.mark.e2e

N_ITEMS = 40
OVERHANG = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def draw(number: int) -> bytes:
    """Return a picture unlike the others."""
    file = io.BytesIO()
    Image.new("RGB", (320, 240), (number * 5 % 256, 120, 200)).save(file, "PNG")
    return file.getvalue()


def pack(n_items: int, *, missing: str = "") -> bytes:
    """Return an archive of so many cases, each with a picture, one of which may not be there."""
    lines = ["Code,Scene,Kind,image"]
    lines += [f"case-{number},Scene {number},odd,pictures/{number}.png" for number in range(n_items)]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("cases.csv", "\n".join(lines))
        for number in range(n_items):
            if str(number) != missing:
                archive.writestr(f"pictures/{number}.png", draw(number))
    return file.getvalue()


def hand_in(page: Page, name: str, content: bytes) -> None:
    page.goto("/admin/generations/dataset/add/")
    page.get_by_label("Name", exact=True).fill(name)
    archive = {"name": "cases.zip", "mimeType": "application/zip", "buffer": content}
    page.get_by_label("File (CSV", exact=False).set_input_files(archive)  # type: ignore[arg-type]
    page.get_by_role("button", name="Add and check").click()
    expect(page).to_have_url(re.compile(r"/admin/generations/dataset/imports/[0-9a-f-]{36}/$"))


def test_an_archive_is_checked_imported_and_seen_with_its_pictures(desk: Desk, product: Product) -> None:
    page = desk.sit_down("admin")
    hand_in(page, "Harbour scenes", pack(N_ITEMS))

    # The page changes by itself, and leaves the keyboard where it was.
    page.evaluate("window.wasHere = true")
    page.locator("#cancel-import").focus()
    expect(page.get_by_role("heading", name="cases.zip Checked")).to_be_visible()
    assert page.evaluate("document.activeElement.id") == "cancel-import"
    assert page.evaluate("window.wasHere"), "The page was loaded again."
    expect(page.get_by_text(f"Images checked {N_ITEMS} of {N_ITEMS}")).to_be_visible()

    expect_to_fit_on_a_phone(page)
    choose_the_columns(page)
    expect(page.get_by_role("cell", name="case-0", exact=True)).to_be_visible()
    page.locator("#start-import").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("All of it is in version 1")).to_be_visible()

    page.get_by_role("link", name="Open the dataset").click()
    expect(page.get_by_role("heading", name=f"Items of version 1: {N_ITEMS}")).to_be_visible()
    pictures = page.locator("img.mg-thumb")
    expect(pictures).to_have_count(N_ITEMS)
    pictures.last.scroll_into_view_if_needed()
    page.wait_for_function("[...document.querySelectorAll('img.mg-thumb')].at(-1).naturalWidth > 0")
    expect_to_fit_on_a_phone(page)
    change_an_item(page)
    assert product.sql("SELECT count(*) FROM generations_datasetimportimage") == [(0,)]


def expect_to_fit_on_a_phone(page: Page) -> None:
    """Expect that nothing stands out of a narrow screen."""
    desk_size = page.viewport_size
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate(OVERHANG) <= 0, page.url
    assert desk_size is not None
    page.set_viewport_size(desk_size)


def choose_the_columns(page: Page) -> None:
    """Say what the columns are, without choosing the file again."""
    page.get_by_label("Role of Code").select_option("key")
    page.get_by_label("Variable of Code").fill("")
    page.get_by_label("Role of Kind").select_option("tags")
    page.get_by_label("Variable of Kind").fill("")
    page.get_by_label("Variable of Scene").fill("scene")
    page.get_by_role("button", name="Check again with these").click()
    expect(page.get_by_text("There are no errors.")).to_be_visible()


def change_an_item(page: Page) -> None:
    """Change one item by hand, which makes the next version."""
    page.get_by_role("link", name="case-7", exact=True).click()
    page.get_by_label("scene", exact=True).fill("A quiet harbour")
    page.get_by_role("button", name="Save as a new version").click()
    expect(page.get_by_role("heading", name=f"Items of version 2: {N_ITEMS}")).to_be_visible()
    expect(page.get_by_text("A quiet harbour")).to_be_visible()
    expect(page.locator("img.mg-thumb")).to_have_count(N_ITEMS)


def test_an_archive_with_a_missing_picture_names_the_line_and_is_cancelled(desk: Desk) -> None:
    page = desk.sit_down("admin")
    hand_in(page, "Broken scenes", pack(3, missing="1"))

    expect(page.get_by_text("There is no image “pictures/1.png” in the ZIP file.")).to_be_visible()
    expect(page.get_by_role("button", name="Import", exact=True)).to_have_count(0)
    page.get_by_role("button", name="Cancel the import").click()

    expect(page.get_by_role("heading", name="cases.zip Cancelled")).to_be_visible()
    page.goto("/admin/generations/dataset/")
    expect(page.get_by_text("Broken scenes")).to_have_count(0)


def test_errors_scroll_by_keys_and_say_that_nothing_can_be_imported(desk: Desk, product: Product) -> None:
    page = desk.sit_down("admin")
    page.goto("/admin/generations/dataset/add/")
    page.get_by_label("Name", exact=True).fill("Twice each")
    rows = "\n".join(f"case-{number % 30},Scene {number}" for number in range(60))
    page.get_by_label("File (CSV", exact=False).set_input_files(
        {"name": "cases.csv", "mimeType": "text/csv", "buffer": f"key,scene\n{rows}".encode()}
    )
    page.get_by_role("button", name="Add and check").click()

    expect(page.get_by_text("Nothing can be imported while there are errors")).to_be_visible()
    errors = page.locator("#errors")
    errors.focus()
    page.keyboard.press("End")

    expect(errors.get_by_text("The key “case-29” stands on line 31 too.")).to_be_in_viewport()
    expect(page.get_by_role("button", name="Check again with these")).to_be_visible()
    expect(page.get_by_role("button", name="Import", exact=True)).to_have_count(0)
