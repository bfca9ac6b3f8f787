#!/usr/bin/env python3
"""kubernetes_test -- the manifests: valid against the published schemas (kubernetes-validate, by tools/deps test), consistent
among themselves, with options our program knows; and its engine closes itself in under the seccomp profile they bring."""
import ctypes, ctypes.util, glob, json, os, re, shutil, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
sys.path[:0] = [HERE, os.path.join(ROOT, "tests", "cmd")]
sys.dont_write_bytecode = True
from server import BINARY, Tap
import tiny_llama

tap = Tap()
sys.path += glob.glob(f"{ROOT}/.venv/lib/python3*/site-packages")  # where tools/deps puts what the tests need
try:
    import yaml
except ImportError:
    tap.skip_all("no python3-yaml")
FOLDER = os.path.join(ROOT, "packaging", "kubernetes")


def skip(name, why):
    tap.count += 1
    print(f"ok {tap.count} - {name} # SKIP {why}")


documents = {}
for path in sorted(glob.glob(f"{FOLDER}/*.yaml") + glob.glob(f"{FOLDER}/home/c*.yaml")):
    with open(path) as f:
        documents[os.path.basename(path)] = list(yaml.safe_load_all(f))
kustomization = documents.pop("kustomization.yaml")[0]
everything = [d for list_ in documents.values() for d in list_]
sets = [d for d in everything if d["kind"] == "StatefulSet"]
pods = {d["metadata"]["name"]: d["spec"]["template"] for d in sets}

try:
    import kubernetes_validate
    with tap.case("every document is valid, strictly, against the schemas"):
        for d in everything:
            kubernetes_validate.validate(d, "1.28", strict=True)
except ImportError:
    skip("every document is valid against the schemas", "no kubernetes-validate: tools/deps test")

with tap.case("the kustomization names every file, and images that are used"):
    with open(f"{FOLDER}/home/kustomization.yaml") as f:
        home = yaml.safe_load(f)
    named = kustomization["resources"] + home["resources"]
    assert sorted(named) == sorted(documents) and home["namespace"] == kustomization["namespace"], (named, list(documents))
    used = {c["image"] for t in pods.values() for c in t["spec"]["containers"]}
    assert used == {i["name"] for i in kustomization["images"]}, used

with tap.case("selectors find the pods they mean, services the ports"):
    labels = [t["metadata"]["labels"].items() for t in pods.values()]
    for d in everything:
        spec = d.get("spec", {})
        selector = spec.get("selector") or spec.get("podSelector") or {}
        wanted = selector.get("matchLabels", selector) if d["kind"] != "StatefulSet" else d["spec"]["selector"]["matchLabels"]
        if wanted:
            assert sum(wanted.items() <= l for l in labels) == 1, (d["kind"], d["metadata"]["name"], wanted)
        if d["kind"] == "Service":
            named = {p["name"] for t in pods.values() for c in t["spec"]["containers"] for p in c.get("ports", [])}
            assert all(p["targetPort"] in named for p in spec.get("ports", [])), d["metadata"]["name"]
        if d["kind"] == "StatefulSet":
            assert any(e["kind"] == "Service" and e["metadata"]["name"] == spec["serviceName"] for e in everything)

with tap.case("volumes, variables and the ConfigMap hold what is used"):
    keys = {k for d in everything if d["kind"] == "ConfigMap" for k in d["data"]}
    for name, t in pods.items():
        claims = next(d for d in sets if d["metadata"]["name"] == name)["spec"].get("volumeClaimTemplates", [])
        volumes = {v["name"] for v in t["spec"]["volumes"]} | {c["metadata"]["name"] for c in claims}
        for c in t["spec"]["containers"]:
            assert {m["name"] for m in c["volumeMounts"]} == volumes, name
            here = keys | {e["name"] for e in c.get("env", [])}
            words = set(re.findall(r"\$\((\w+)\)", json.dumps(c)))
            assert words <= here, words - here

with tap.case("nobody is root, writes the image, gains rights or keeps capabilities; a drain ends before the pod is killed"):
    for name, t in pods.items():
        assert t["spec"]["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", name
        assert any(d["kind"] == "PodDisruptionBudget" and d["spec"]["selector"]["matchLabels"].items() <=
                   t["metadata"]["labels"].items() for d in everything), f"{name} has no PodDisruptionBudget"
        assert t["spec"]["securityContext"]["runAsNonRoot"] and not t["spec"]["automountServiceAccountToken"], name
        for c in t["spec"]["containers"]:
            s = c["securityContext"]
            assert not s["allowPrivilegeEscalation"] and s["readOnlyRootFilesystem"] and s["capabilities"] == {"drop": ["ALL"]}
            drain = [int(a.split("=")[1]) for a in c["args"] if a.startswith("--drain-s=")]
            before = int(c.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [0, 0])[1])
            assert not drain or t["spec"]["terminationGracePeriodSeconds"] >= drain[0] + before + 10, name

with tap.case("probes ask what the program answers, and never whether others are there before they start a pod again"):
    for name, t in pods.items():
        for c in t["spec"]["containers"]:
            live, ready = c.get("livenessProbe", {}), c.get("readinessProbe", {})
            if name in ("tokenworks-worker", "tokenworks-gateway"):
                assert live["httpGet"]["path"] == "/livez" and ready["httpGet"]["path"] == "/readyz", name
                ports = {p["name"] for p in c["ports"]}
                assert {live["httpGet"]["port"], ready["httpGet"]["port"]} <= ports, ports

for part in ("worker", "gateway", "collect"):
    name = f"the {part}'s options are those of tokenworks {part}"
    known = subprocess.run([BINARY, part, "--help"], capture_output=True, text=True).stdout
    if not known:
        skip(name, f"this build has no tokenworks {part}")
        continue
    with tap.case(name):
        for a in pods[f"tokenworks-{part}"]["spec"]["containers"][0]["args"]:
            assert re.search(rf"(^|\s){re.escape(a.split('=')[0])}\b", known), a

UNDER = """
import ctypes, json, os, sys
lib = ctypes.CDLL("libseccomp.so.2")
lib.seccomp_init.restype = ctypes.c_void_p
profile = json.load(open(sys.argv[1]))
assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
filter = ctypes.c_void_p(lib.seccomp_init(0x00050000 | profile["defaultErrnoRet"]))
for names in (s["names"] for s in profile["syscalls"]):
    for n in set(names) - {sys.argv.pop(2) if sys.argv[2] == "unshare" else ""}:
        number = lib.seccomp_syscall_resolve_name(n.encode())
        if number >= 0:
            assert lib.seccomp_rule_add(filter, 0x7fff0000, number, 0) == 0, n
assert lib.seccomp_load(filter) == 0
os.execv(sys.argv[2], sys.argv[2:])
"""


def under_profile(*without):
    """The program as in a pod: a user without capabilities, no new privileges, the profile; its engine must be closed in."""
    with tempfile.TemporaryDirectory() as d:
        os.chmod(d, 0o777)
        tiny_llama.write(f"{d}/tiny.gguf", 1)
        shutil.copy(f"{FOLDER}/seccomp.json", f"{d}/profile.json")
        shutil.copy(BINARY, f"{d}/tokenworks")
        for name in ("tiny.gguf", "profile.json", "tokenworks"):
            os.chmod(f"{d}/{name}", 0o755)
        as_user = ["setpriv", "--reuid=10001", "--regid=10001", "--clear-groups", "--no-new-privs", "--bounding-set=-all",
                   "--inh-caps=-all"]
        with open(f"{d}/log", "w+") as log:
            p = subprocess.Popen([*as_user, sys.executable if sys.executable.startswith("/usr") else "/usr/bin/python3", "-c",
                                  UNDER, f"{d}/profile.json", *without, f"{d}/tokenworks", "serve", "--model", f"{d}/tiny.gguf", "--listen",
                                  "127.0.0.1:0", "--state", f"{d}/state", "--sandbox", "enforce", "--threads", "1"],
                                 stdout=log, stderr=log, cwd="/")
            deadline = time.monotonic() + 30
            text = ""
            while time.monotonic() < deadline and p.poll() is None and not re.search(r"model ready|sandbox", text):
                time.sleep(0.1)
                with open(f"{d}/log") as f:
                    text = f.read()
            p.terminate()
            p.wait(20)
        return text


name = "the engine closes itself in, in full, under seccomp.json"
if os.geteuid() != 0 or not shutil.which("setpriv") or not os.path.exists("/usr/bin/python3") or os.environ.get("SANITIZE"):
    skip(name, "it takes root, setpriv and an ordinary build")
elif not ctypes.util.find_library("seccomp"):
    skip(name, "no libseccomp")
else:
    with tap.case(name):
        text = under_profile()
        assert "model ready" in text, text
        text = under_profile("unshare")
        assert "the network namespace cannot be made" in text and "model ready" not in text, text
tap.done()
