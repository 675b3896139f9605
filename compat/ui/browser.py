"""A headless Chromium, driven as a person would: by the labels of fields and the words on buttons."""

import json
import re
import time

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

PATIENCE_SECONDS = 10


def quoted(text):
    """A literal of XPath, which has no escapes."""
    if '"' not in text:
        return f'"{text}"'
    parts = text.split('"')
    return "concat(" + ", '\"', ".join(f'"{part}"' for part in parts) + ")"


class Browser:
    def __init__(self, url, downloads):
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        # As root it has no sandbox, and containers have little shared memory.
        for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                         "--window-size=1440,1000", "--lang=en"):
            options.add_argument(argument)
        options.add_experimental_option("prefs", {"download.default_directory": downloads})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.url = url
        self.driver = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
        self.driver.set_script_timeout(PATIENCE_SECONDS)
        self.version = self.driver.capabilities["browserVersion"]

    def close(self):
        self.driver.quit()

    # --- looking ---

    def wait(self, condition, what, seconds_max=PATIENCE_SECONDS):
        """The value of `condition` when there is one. What is drawn anew meanwhile is looked at again."""
        deadline = time.monotonic() + seconds_max
        while True:
            try:
                found = condition()
                if found:
                    return found
            except StaleElementReferenceException:
                pass
            if time.monotonic() > deadline:
                raise AssertionError(f"not seen: {what}; the page says {self.text()[:200]!r}")
            time.sleep(0.03)

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def script(self, text, *arguments):
        return self.driver.execute_script(text, *arguments)

    def text(self, selector="body"):
        return self.script("return document.querySelector(arguments[0])?.innerText ?? ''", selector)

    def see(self, text, selector="body"):
        self.wait(lambda: text in self.text(selector), f"{text!r} in {selector}")

    def see_no(self, text, selector="body"):
        self.wait(lambda: text not in self.text(selector), f"no {text!r} in {selector}")

    def shown(self, xpath, what):
        def find():
            return [found for found in self.driver.find_elements(By.XPATH, xpath) if found.is_displayed()]
        return self.wait(find, what)[-1]

    def rows(self, label):
        """The cells of a table as texts, by its caption."""
        return self.script(
            "const found = [...document.querySelectorAll('caption')].find((one) => one.textContent === arguments[0]);"
            "return found ? [...found.parentElement.tBodies[0].rows].map((row) => [...row.cells].map((cell) => cell.innerText))"
            " : []", label)

    def row(self, label, name):
        """The cells of the row with this name in its first cell."""
        def find():
            return next((row for row in self.rows(label) if row[0].split("\n")[0] == name), None)
        return self.wait(find, f"{name!r} among {label}")

    # --- doing ---

    def go(self, fragment, title):
        # As a link would; an address that is open already is loaded again.
        self.script("if (location.hash === arguments[0]) location.reload(); else location.hash = arguments[0]", fragment)
        self.titled(title)

    def titled(self, title):
        self.wait(lambda: self.text("h1") == title, f"the page {title!r}")

    def press(self, xpath, what):
        # The head of the page stays above it all, and the driver does not scroll from under it.
        def press():
            found = self.shown(xpath, what)
            self.script("arguments[0].scrollIntoView({ block: 'center' })", found)
            found.click()
            return True
        self.wait(press, what)

    def click(self, label):
        self.press(f"//button[normalize-space()={quoted(label)}]", f"the button {label!r}")

    def agree(self, label):
        """To what a dialog asks."""
        self.press(f"//dialog//button[normalize-space()={quoted(label)}]", f"the button {label!r} of a dialog")

    def follow(self, label):
        self.press(f"//main//a[normalize-space()={quoted(label)}]", f"the link {label!r}")

    def follow_any(self, label):
        """On a page that is not the UI's."""
        self.press(f"//a[normalize-space()={quoted(label)}]", f"the link {label!r}")

    def open(self, panel):
        self.press(f"//summary[normalize-space()={quoted(panel)}]", f"the panel {panel!r}")

    def field(self, label, form=""):
        """The field of a label, in the form whose button says `form`."""
        inside = f"//form[.//button[normalize-space()={quoted(form)}]]" if form else ""
        found = self.shown(f"{inside}//label[normalize-space()={quoted(label)}]", f"the field {label!r}")
        return self.driver.find_element(By.ID, found.get_attribute("for"))

    def fill(self, label, value, form=""):
        field = self.field(label, form)
        if field.tag_name == "select":
            Select(field).select_by_visible_text(value)
        elif field.get_attribute("type") == "checkbox":
            if field.is_selected() != value:
                field.click()
        elif field.get_attribute("type") == "file":
            field.send_keys(value)
        else:
            # As a person does it, so that the page hears of it.
            field.send_keys(Keys.CONTROL, "a")
            field.send_keys(value or Keys.DELETE)

    def argument(self, shortcut, value):
        self.click(shortcut)
        found = self.driver.switch_to.active_element
        found.send_keys(Keys.CONTROL, "a")
        found.send_keys(value)

    def keys(self, *keys):
        webdriver.ActionChains(self.driver).send_keys(*keys).perform()

    def tab_to(self, condition, what, count_max=60):
        """Presses Tab until the focused element is wanted."""
        for _ in range(count_max):
            self.keys(Keys.TAB)
            if self.script(f"const e = document.activeElement; return {condition}"):
                return
        raise AssertionError(f"not reached with Tab: {what}")

    def log_in(self, name, password):
        # Where no page runs that would write its session back.
        self.driver.get(f"{self.url.rstrip('/')}/icon.svg")
        self.script("sessionStorage.clear()")
        self.driver.get(self.url)
        self.fill("Username", name)
        self.fill("Password", password)
        self.click("Log in")

    def device(self, **features):
        emulated = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": emulated})

    def width(self, pixels):
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                                    {"width": pixels, "height": 1000, "deviceScaleFactor": 1, "mobile": False})

    def network(self, is_on):
        self.driver.execute_cdp_cmd("Network.enable", {})
        self.driver.execute_cdp_cmd("Network.emulateNetworkConditions",
                                    {"offline": not is_on, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1})

    def complaints(self):
        """What the console was told since this was last asked, requests that the broker refused aside."""
        told = [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
        return [text for text in told if not re.search(r"status of 4\d\d|ERR_INTERNET_DISCONNECTED", text)]

    def requests(self):
        """Paths asked for since the page was opened."""
        text = self.script("return JSON.stringify(performance.getEntriesByType('resource').map((entry) => entry.name))")
        return json.loads(text)
