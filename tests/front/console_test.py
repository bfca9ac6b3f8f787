#!/usr/bin/env python3
"""console_test -- the console in a real browser, against the fake engine: chat, stop, hostile answers, keys, both schemes."""
import json
import os
import subprocess
import sys

import chrome
from server import B, Server, Skip, equal, run, until

if not chrome.find():
    print("ok 1 - console # SKIP no chromium on this machine\n1..1")
    sys.exit(0)

HOSTILE = ["Some **bold** and `code <b>`: ", "<img src=x onerror=\"document.title='hit'\">", "<script>document.title='hit'",
           "</script>\n\n", "[a](javascript:alert(1)) [b](https://ok.example/x) ", "[c](data:text/html,x)\n\n```html\n",
           "<iframe src=/health></iframe>\n", "```\n\n- one\n- two\n  - deep\n\n| a | b |\n|---|---|\n| 1 | <i>2</i> |\n\n",
           "# Title <u>x</u>\n\n1. first\n2. second\n"]
ENTER, ESCAPE, TAB = 13, 27, 9
ANSWER = "document.querySelector('.turn.assistant:last-child')"
IDLE = "document.querySelectorAll('.turn.assistant').length && !document.querySelector('.busy')"


def ask(page, text):
    page.until("document.activeElement.id === 'prompt'")
    page.type(text)
    page.press("Enter", ENTER)


def the_page_is_alone_in_the_world():
    with Server() as s, chrome.Chrome() as page:
        page.open(f"http://127.0.0.1:{s.port}/")
        page.until("document.getElementById('state').dataset.state === 'ready'")
        equal(page.run("document.getElementById('model').value"), "tiny")
        page.until("document.getElementById('kv-meter').getAttribute('aria-valuenow') === '19'")  # 12 of 64
        page.until("document.getElementById('rate').textContent === '13'")
        equal([u for u in page.requests() if not u.startswith(f"http://127.0.0.1:{s.port}/")], [])
        equal(page.complaints(), [])
        r = s.get("/")
        policy = r.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy, policy
        assert len(r.body) + len(s.get("/console.js").body) + len(s.get("/console.css").body) < 60000


def an_answer_streams_and_can_be_stopped():
    with Server(env={"FAKE_BODY": json.dumps({"n": 400, "ms": 20})}) as s, chrome.Chrome() as page:
        page.open(f"http://127.0.0.1:{s.port}/")
        ask(page, "count for me")
        equal(page.until("document.querySelector('.turn.user').innerText"), "count for me")
        first = page.until(f"{ANSWER}?.querySelector('.text').innerText.split('word').length - 1")
        more = page.until(f"(n => n > {first} + 20 && n)({ANSWER}.querySelector('.text').innerText.split('word').length - 1)")
        assert first < more < 390, (first, more)
        equal(page.run("document.getElementById('send').hidden"), True)
        page.press("Escape", ESCAPE)
        page.until(IDLE)
        until(lambda: len(s.do(do="log").json()["cancels"]) == 1, "the cancel frame")
        assert "tokens/s" in page.run(f"{ANSWER}.querySelector('.foot').innerText")
        ask(page, "and again")
        page.until(f"{ANSWER}?.querySelector('.text').innerText.includes('word5')")
        page.run("document.getElementById('stop').click()")
        page.until(IDLE)
        equal(page.run("document.querySelectorAll('.turn').length"), 4)
        page.run("document.getElementById('new').click()")
        equal(page.run("document.querySelectorAll('.turn').length"), 0)
        equal(page.complaints(), [])


def a_hostile_answer_is_only_text():
    body = {"n": len(HOSTILE), "ms": 30, "text": HOSTILE}
    with Server(env={"FAKE_BODY": json.dumps(body)}) as s, chrome.Chrome() as page:
        page.open(f"http://127.0.0.1:{s.port}/")
        ask(page, "<img src=x onerror=alert(1)>")
        page.until(IDLE)
        equal(page.run("document.querySelectorAll('.log :is(img,script,iframe,i,u,b)').length"), 0)
        equal(page.run("document.title"), "Tokenworks")
        equal(page.run("[...document.querySelectorAll('.log a')].map(a => a.href)"), ["https://ok.example/x"])
        text = page.run(f"{ANSWER}.querySelector('.text').innerText")
        for want in ("<img src=x onerror=", "<script>", "</script>", "[a](javascript:alert(1))", "<iframe src=/health>"):
            assert want in text, (want, text)
        for tag, count in (("strong", 1), ("pre", 1), ("ul", 2), ("ol", 1), ("li", 5), ("h2", 1), ("td", 2)):
            equal((tag, page.run(f"{ANSWER}.querySelectorAll('.text {tag}').length")), (tag, count))
        equal(page.run("document.querySelector('.turn.user').innerText"), "<img src=x onerror=alert(1)>")
        equal(page.complaints(), [])
        page.screenshot(os.path.join(B, "tests/front/console.png"))


def errors_are_told():
    with Server(env={"FAKE_BODY": json.dumps({"do": "crash-late"})}) as s, chrome.Chrome() as page:
        page.open(f"http://127.0.0.1:{s.port}/")
        page.until("document.getElementById('state').dataset.state === 'ready'")
        ask(page, "die")
        page.until(IDLE)
        assert "being started again" in page.run(f"{ANSWER}.querySelector('.failed').innerText")
        page.until("document.getElementById('total').innerText.includes('Engine restarts\\n1')")


def a_key_is_asked_for():
    with Server(env={"TOKENWORKS_API_KEY": "tw-secret"}, wait=False) as s, chrome.Chrome() as page:
        page.open(f"http://127.0.0.1:{s.port}/")
        page.until("!document.getElementById('key-form').hidden && document.activeElement.id === 'key'")
        page.type("tw-secret")
        page.press("Enter", ENTER)
        page.until("document.getElementById('state').dataset.state === 'ready'")
        equal(page.run("document.getElementById('key-form').hidden"), True)
        page.run("document.getElementById('prompt').focus()")
        ask(page, "hello")
        page.until(f"{ANSWER}?.innerText.includes('word9')")
        equal(page.run("localStorage.length"), 0)


def keyboard_names_and_both_schemes():
    with Server() as s, chrome.Chrome() as page:
        page.open(f"http://127.0.0.1:{s.port}/")
        page.until("document.getElementById('state').dataset.state === 'ready'")
        seen = set()
        for _ in range(20):
            page.press("Tab", TAB)
            seen.add(page.run("document.activeElement.id || document.activeElement.tagName"))
        for want in ("prompt", "send", "new", "theme", "log"):
            assert want in seen, (want, seen)
        named = {"button", "textbox", "combobox", "spinbutton", "link", "progressbar", "log", "main", "complementary", "image"}
        for node in page.call("Accessibility.getFullAXTree")["nodes"]:
            role = node.get("role", {}).get("value")
            if role in named - {"main", "image"} and not node.get("ignored"):
                assert node.get("name", {}).get("value"), f"a {role} without a name"
        paper = "getComputedStyle(document.body).backgroundColor"
        for scheme in ("light", "dark"):
            page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            equal((scheme, page.run(paper)), (scheme, "rgb(246, 247, 245)" if scheme == "light" else "rgb(15, 21, 19)"))
        page.run("document.getElementById('theme').click()")  # light, whatever the system says
        equal(page.run(paper), "rgb(246, 247, 245)")
        page.call("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=True)
        assert page.run("document.documentElement.scrollWidth") <= 390
        equal(page.complaints(), [])


def models_answer_side_by_side():
    with Server(models=("tiny", "other")) as s, chrome.Chrome() as page:
        page.open(f"http://127.0.0.1:{s.port}/")
        page.until("!document.getElementById('beside').hidden")
        page.run("document.querySelector('#beside input[value=other]').click(); document.getElementById('prompt').focus()")
        ask(page, "both of you")
        page.until(IDLE + " && document.querySelectorAll('.beside .turn').length === 2")
        equal(page.run("[...document.querySelectorAll('.beside .who')].map(h => h.textContent)"), ["tiny", "other"])
        asked = s.get("/tokenworks/requests").json()["requests"]
        equal(sorted(r["model"] for r in asked), ["other", "tiny"])
        equal(page.complaints(), [])


def the_playground_judges_and_shows_the_request():
    text = ['{"city":', ' "Oslo"', "}"]
    with Server(env={"FAKE_BODY": json.dumps({"n": 3, "ms": 5, "text": text})}) as s, chrome.Chrome() as page:
        page.open(f"http://127.0.0.1:{s.port}/#playground")
        page.until("document.getElementById('state').dataset.state === 'ready'")
        equal(page.run("document.getElementById('view-chat').hidden"), True)
        page.run("document.getElementById('play-run').click()")
        page.until("document.getElementById('play-verdict').dataset.kind === 'good'")
        equal(page.run("document.getElementById('play-output').textContent"), "".join(text))
        page.run("document.getElementById('play-source').value = '{no json'; document.getElementById('play-run').click()")
        page.until("document.getElementById('play-verdict').textContent.startsWith('This is not JSON')")
        page.run("const f = document.getElementById('play-form'); f.value = 'regex'; f.dispatchEvent(new Event('change'))")
        page.run("document.getElementById('play-run').click()")
        page.until("document.getElementById('play-verdict').textContent.startsWith('Complete')")
        page.run("const g = document.getElementById('play-form'); g.value = 'schema'; g.dispatchEvent(new Event('change'))")
        equal(page.run("document.getElementById('play-source').value"), "{no json")  # what was typed is kept
        equal(page.complaints(), [])


def requests_and_curves_are_live():
    with Server() as s, chrome.Chrome() as page:
        page.open(f"http://127.0.0.1:{s.port}/#requests")
        page.until("document.getElementById('requests').innerText.includes('None since')")
        equal(s.do(messages=[{"role": "user", "content": "a secret word"}]).status, 200)
        equal(s.do("/v1/chat/completions", model="nobody").status, 404)
        page.until("document.querySelectorAll('#requests tbody tr').length === 1 && "
                   "document.getElementById('requests').innerText.includes('done')")
        line = s.get("/tokenworks/requests").json()["requests"][0]
        equal((line["state"], line["status"], line["model"], line["path"]), ("done", 200, "tiny", "/v1/chat/completions"))
        assert "secret" not in json.dumps(line)
        page.until("document.querySelectorAll('#charts polyline')[0].getAttribute('points').split(' ').length > 2")
        page.press("1", 49, modifiers=1)  # Alt+1
        page.until("!document.getElementById('view-chat').hidden")
        equal(page.complaints(), [])


def cost_is_the_command_s_arithmetic():
    with Server() as s, chrome.Chrome() as page:
        page.open(f"http://127.0.0.1:{s.port}/#cost")
        page.until("document.getElementById('cost-verdict').textContent.includes('million output tokens')")
        told = json.loads(subprocess.run([os.path.join(B, "tokenworks"), "tco", "-h", "h200x8", "-m", "llama-3.1-8b", "-a", "gpt-oss-120b",
                                          "--utilisation", "0.25", "--json"], capture_output=True, text=True, check=True).stdout)
        answer = s.do("/tokenworks/tco", hardware="h200x8", model="llama-3.1-8b", api="gpt-oss-120b", utilisation=0.25).json()
        assert abs(answer["result"]["usd_per_mtok"] / told["usd_per_mtok"] - 1) < 1e-6
        page.run("const u = document.getElementById('cost-utilisation'); u.value = '0.25'; u.dispatchEvent(new Event('input'))")
        want = f"${told['total']:,.0f}"
        page.until(f"document.getElementById('cost-result').innerText.includes('{want}')")
        for bad in ({"hardware": "x\"}], models: [{"}, {"utilisation": 2}, {"nonsense": 1}):
            equal(s.do("/tokenworks/tco", **bad).status, 400)
        equal(page.complaints(), [])


def usage_and_keys_are_the_admins():
    with Server("--ledger") as s, chrome.Chrome() as page:
        def tokenworks(*words):
            return subprocess.run([os.path.join(B, "tokenworks"), *words, "--state", s.dir.name], capture_output=True,
                                  text=True, check=True).stdout.strip()
        tokenworks("tenant", "add", "acme")
        admin, user = tokenworks("key", "add", "-t", "acme", "--role", "admin"), tokenworks("key", "add", "-t", "acme")
        until(lambda: s.get("/v1/models").status == 401, "the server to ask for a key")
        equal(s.post("/v1/chat/completions", {"messages": []}, Authorization=f"Bearer {user}").status, 200)
        page.open(f"http://127.0.0.1:{s.port}/#usage")
        page.until("!document.getElementById('key-form').hidden && document.activeElement.id === 'key'")
        page.type(admin)
        page.press("Enter", ENTER)
        page.until("document.getElementById('state').dataset.state === 'ready'")
        page.run("location.hash = 'chat'")
        page.run("location.hash = 'usage'")
        page.until("document.getElementById('usage-table').innerText.includes('acme')")
        equal(page.run("document.querySelectorAll('#keys tbody tr').length"), 2)
        page.run("document.querySelector('#usage-table tbody button').click()")
        page.until("document.querySelector('#usage-chart figcaption').textContent.includes('acme')")
        page.run("document.getElementById('key-tenant').value = 'acme'; document.getElementById('key-add').requestSubmit()")
        page.until("document.getElementById('key-made').textContent.includes('tw-')")
        page.until("document.querySelectorAll('#keys tbody tr').length === 3")
        page.run("[...document.querySelectorAll('#keys button')].pop().click()")
        page.run("[...document.querySelectorAll('#keys button')].pop().click()")
        page.until("document.getElementById('keys').innerText.includes('revoked')")


def the_types_hold():
    tsc = "tests/clients/node_modules/.bin/tsc"
    if not os.path.exists(tsc):
        raise Skip("typescript is not installed: make deps")
    subprocess.run([tsc, "-p", "web", "--noEmit"], check=True)


run([the_page_is_alone_in_the_world, an_answer_streams_and_can_be_stopped, a_hostile_answer_is_only_text, errors_are_told,
     a_key_is_asked_for, keyboard_names_and_both_schemes, models_answer_side_by_side,
     the_playground_judges_and_shows_the_request, requests_and_curves_are_live, cost_is_the_command_s_arithmetic,
     usage_and_keys_are_the_admins, the_types_hold])
