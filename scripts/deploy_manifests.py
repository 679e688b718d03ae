"""What scripts/deploy-check.sh checks about manifests and the compose file: schemas, rules of the house,
and that every flag and variable they set is one that the program has."""

import functools
import json
import re
import subprocess
import sys
from pathlib import Path

import yaml
from kubernetes_validate import utils as kubernetes

PROGRAM_IMAGES = ("event-store-svc", "message-queue-svc", "order-shop")
FRONTS = PROGRAM_IMAGES[:2]
# Secrets that programs take from the environment alone.
VARIABLES_WITHOUT_FLAG = {"SMTP_PASSWORD"}

problems = []


def problem(text):
    problems.append(text)


def documents(path):
    """Of a file, whose ending may be left out."""
    return [document for document in yaml.safe_load_all(Path(path).with_suffix(".yaml").read_text()) if document]


def name_of(document):
    return f"{document['kind']} {document['metadata']['name']}"


def schemas(paths):
    """Each document against the newest Kubernetes that there are schemas of, and three minors before."""
    kubernetes.schema_contents = functools.lru_cache(None)(kubernetes.schema_contents)
    newest = kubernetes.major_minor(kubernetes.latest_version())
    major, minor = newest.split(".")
    checked = 0
    for version in (newest, f"{major}.{int(minor) - 3}"):
        for path in paths:
            for document in documents(path):
                checked += 1
                try:
                    used = kubernetes.validate(document, version, strict=True)
                    if used != version:
                        problem(f"there are no schemas of Kubernetes {version}")
                except kubernetes.ValidationError as error:
                    where = "/".join(str(part) for part in error.path)
                    problem(f"{Path(path).name}: {name_of(document)}: {where}: {error.message} (Kubernetes {version})")
                except kubernetes.SchemaNotFoundError as error:
                    problem(f"{Path(path).name}: {name_of(document)}: {error.message}")
    if checked < 100:
        problem(f"only {checked} documents were checked")


def containers(document):
    return document["spec"]["template"]["spec"]["containers"]


def workloads(path):
    return [document for document in documents(path) if document["kind"] in ("Deployment", "StatefulSet")]


def rules(secrets, paths):
    """What the linter does not know: the shutdown fits, tokens are not mounted, what is named is there."""
    keys = {document["metadata"]["name"]: set(document["data"]) for document in documents(secrets)}
    for path in paths:
        everything = documents(path)
        overlay = Path(path).stem
        names = {(document["kind"], document["metadata"]["name"]) for document in everything}
        for kind in ("Service", "NetworkPolicy", "PodDisruptionBudget", "HorizontalPodAutoscaler", "ServiceAccount"):
            for front in FRONTS:
                if (kind, front) not in names:
                    problem(f"{overlay}: {front} has no {kind}")
        for document in everything:
            what, spec = f"{overlay}: {name_of(document)}", document.get("spec", {})
            if document["kind"] == "Namespace":
                if document["metadata"]["labels"].get("pod-security.kubernetes.io/enforce") != "restricted":
                    problem(f"{what} does not enforce the restricted Pod Security standard")
            elif document["kind"] == "ServiceAccount" and document.get("automountServiceAccountToken") is not False:
                problem(f"{what} mounts its token")
            elif document["kind"] == "Service" and document["metadata"]["name"] in FRONTS and spec.get("clusterIP") != "None":
                problem(f"{what} is not headless: one replica would get all calls of a connection")
            elif document["kind"] == "NetworkPolicy" and document["metadata"]["name"] == "redis":
                peers = [peer for rule in spec["ingress"] for peer in rule.get("from", [{}])]
                if peers != [{"podSelector": {"matchLabels": {"messaging/redis-client": "true"}}}]:
                    problem(f"{what} lets in more than the two services: {peers}")
        for document in workloads(path):
            what, pod = f"{overlay}: {name_of(document)}", document["spec"]["template"]["spec"]
            name = document["metadata"]["name"]
            restricted(what, pod)
            if (document["spec"]["template"]["metadata"]["labels"].get("messaging/redis-client") == "true") != (name in FRONTS):
                problem(f"{what} must {'' if name in FRONTS else 'not '}be able to reach Redis")
            for volume in pod.get("volumes", []):
                config = volume.get("configMap", {}).get("name")
                if config and ("ConfigMap", config) not in names:
                    problem(f"{what} mounts ConfigMap {config}, which is not there")
                secret = volume.get("secret", {})
                if secret and secret["secretName"] not in keys:
                    problem(f"{what} mounts Secret {secret['secretName']}, which is not made")
                for item in secret.get("items", []):
                    if item["key"] not in keys.get(secret["secretName"], ()):
                        problem(f"{what}: Secret {secret['secretName']} has no {item['key']}")
            if name in FRONTS:
                pre_stop = containers(document)[0]["lifecycle"]["preStop"]["sleep"]["seconds"]
                # 25 s is the most that a shutdown may take (MAX_SHUTDOWN_TIMEOUT), and 1 s its last resort.
                if pod["terminationGracePeriodSeconds"] < pre_stop + 26:
                    problem(f"{what} is killed before its shutdown can end")
                if not pod.get("topologySpreadConstraints"):
                    problem(f"{what} does not spread over nodes")


def restricted(what, pod):
    """The Pod Security standard "restricted", as far as a template can break it, and read-only files."""
    context = pod.get("securityContext", {})
    if pod.get("automountServiceAccountToken") is not False:
        problem(f"{what} mounts a token")
    if any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
        problem(f"{what} uses namespaces of the host")
    if any("hostPath" in volume for volume in pod.get("volumes", [])):
        problem(f"{what} mounts a path of the host")
    for container in pod["containers"] + pod.get("initContainers", []):
        own = container.get("securityContext", {})
        merged = {**context, **own}
        wanted = {
            "runAsNonRoot": merged.get("runAsNonRoot") is True and merged.get("runAsUser", 0) > 0,
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "readOnlyRootFilesystem": own.get("readOnlyRootFilesystem") is True,
            "capabilities": own.get("capabilities") == {"drop": ["ALL"]},
            "seccompProfile": merged.get("seccompProfile", {}).get("type") == "RuntimeDefault",
        }
        for setting, right in wanted.items():
            if not right:
                problem(f"{what}: container {container['name']}: {setting}")


def compose(model, dockerfile):
    """The compose file: hardened, watched, and built from targets that there are."""
    targets = set(re.findall(r"^FROM .* AS (\S+)$", Path(dockerfile).read_text(), re.MULTILINE))
    services = json.loads(Path(model).read_text())["services"]
    for name, service in services.items():
        wanted = {
            "a health check": service.get("healthcheck", {}).get("test"),
            "a restart policy": service.get("restart"),
            "a limit of memory": service.get("mem_limit"),
            "a limit of CPU": service.get("cpus"),
            "a limit of processes": service.get("pids_limit"),
            "read_only": service.get("read_only"),
            "cap_drop ALL": service.get("cap_drop") == ["ALL"],
            "no-new-privileges": "no-new-privileges:true" in service.get("security_opt", []),
            "a pinned image": re.search(r":v?\d+\.\d+\.\d+", service["image"]),
        }
        for what, there in wanted.items():
            if not there:
                problem(f"compose: {name} has no {what}")
        for port in service.get("ports", []):
            if port.get("host_ip") != "127.0.0.1":
                problem(f"compose: {name} opens port {port['published']} to the network")
        if program_image(service["image"]) and service.get("build", {}).get("target") not in targets:
            problem(f"compose: {name} is built from no target of the Dockerfile")
    on_redis = {name for name, service in services.items() if "redis" in service["networks"]}
    if on_redis != {"redis", *FRONTS}:
        problem(f"compose: Redis is on a network with {sorted(on_redis)}")


def program_image(image):
    name = image.split(":")[0].rsplit("/")[-1]
    return name if name in PROGRAM_IMAGES else None


@functools.lru_cache(None)
def explained(folder, program):
    path = Path(folder) / program
    if not path.is_file():
        sys.exit(f"error: {path} is not there: build it with `cargo build --workspace --all-targets`")
    text = subprocess.run([path, "--help"], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"^\s+(?:-\w, )?(--[a-z0-9-]+)", text, re.MULTILINE)), set(re.findall(r"\[env: (\w+)", text))


def uses(compose_model, paths):
    """(where, image, command, arguments, variables) of every container that runs a program of ours."""
    for name, service in json.loads(Path(compose_model).read_text())["services"].items():
        words = service.get("command") or []
        yield f"compose: {name}", service["image"], words, [], set(service.get("environment") or {})
    for path in paths:
        config = {d["metadata"]["name"]: set(d["data"]) for d in documents(path) if d["kind"] == "ConfigMap"}
        for document in workloads(path):
            for container in containers(document):
                variables = {entry["name"] for entry in container.get("env", [])}
                for source in container.get("envFrom", []):
                    variables |= config[source["configMapRef"]["name"]]
                yield (f"{Path(path).stem}: {name_of(document)}", container["image"], container.get("command", []),
                       container.get("args", []), variables)


def flags(folder, compose_model, paths):
    """Flags and variables that programs do not know."""
    seen = set()
    for where, image, command, arguments, variables in uses(compose_model, paths):
        image = program_image(image)
        if not image:
            continue
        words = [*command, *arguments]
        program = image if image in FRONTS else words.pop(0)
        seen.add(program)
        its_flags, its_variables = explained(folder, program)
        for word in words:
            flag = word.split("=")[0]
            if flag not in its_flags:
                problem(f"{where}: {program} has no {flag}")
        for variable in variables - its_variables - VARIABLES_WITHOUT_FLAG:
            problem(f"{where}: {program} has no {variable}")
    if len(seen) != 13:
        problem(f"13 programs are deployed, and these were seen: {sorted(seen)}")


def main():
    check, *rest = sys.argv[1:]
    if check == "schemas":
        schemas(rest)
    elif check == "rules":
        rules(rest[0], rest[1:])
    elif check == "compose":
        compose(*rest)
    elif check == "flags":
        flags(rest[0], rest[1], rest[2:])
    for text in problems:
        print(f"error: {text}", file=sys.stderr)
    sys.exit(bool(problems))


main()
