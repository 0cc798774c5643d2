#!/usr/bin/env bash
# What `make cluster build image-size start status pods break mend stop clean e2e` do. Settings come from the environment:
#   IMAGE     fakehw:dev    the image; any name that the nodes have, or can pull
#   CLUSTER   kind          the kind cluster; its workers are CLUSTER-worker and CLUSTER-worker2
#   NODE1 NODE2             the nodes that own the fake node1 and node2, on a cluster that kind did not make
#   OVERLAY   kind          a folder of deploy/overlays
#   TOPOLOGY                start only: a topology file in place of the overlay's
#   COMPONENTS              folders of deploy/components, in quotes: "gke monitoring"
#   API       device-plugin start, e2e: device-plugin or dra, Kubernetes' two APIs for devices (docs/dra.md)
#   PODS      deploy/pods.yaml   pods: the example's pods; deploy/claims.yaml asks for the same by claims
#   TREE      /fakehw       the tree's directory on the nodes; KUBELET_ROOT: their kubelets' --root-dir
#   ENGINE    docker        docker or podman (build: buildah too)
#   BASE                    the base image, where it is not the one in deploy/Dockerfile
#   TREES                   cluster only, Linux: a folder on the host to hold the workers' trees
set -euo pipefail
cd "$(dirname "$0")/.."

: "${IMAGE:=fakehw:dev}" "${CLUSTER:=kind}" "${OVERLAY:=kind}" "${KUBECTL:=kubectl}" "${KIND:=kind}" "${PYTHON:=python3}"
: "${NODE1:=$CLUSTER-worker}" "${NODE2:=$CLUSTER-worker2}" "${NAMESPACE:=fakehw}" "${TREES:=}" "${BASE:=}" "${TIMEOUT:=120s}" "${COMPONENTS:=}" "${TREE:=}" "${KUBELET_ROOT:=}" "${TOPOLOGY:=}" "${API:=device-plugin}" "${PODS:=deploy/pods.yaml}"
rendered=build/deploy

fail() { echo "make ${target:-}: $*" >&2; exit 1; }

need() { command -v "$1" >/dev/null || fail "$1 is missing: $2"; }

need_engine() {
  if [ -z "${ENGINE:-}" ]; then
    for ENGINE in docker podman; do command -v "$ENGINE" >/dev/null && break; done
  fi
  need "$ENGINE" "it builds and runs images (or set ENGINE=podman or ENGINE=buildah)"
  case $(basename "$ENGINE") in
    docker | podman) "$ENGINE" info >/dev/null 2>&1 || fail "$ENGINE does not answer: is it running, and may you use it?" ;;
  esac
}

need_cluster() {
  need "$KUBECTL" "it speaks to the cluster (https://kubernetes.io/docs/tasks/tools)"
  "$KUBECTL" version --request-timeout=5s >/dev/null 2>&1 ||
    fail "no cluster answers in the context '$("$KUBECTL" config current-context 2>/dev/null || echo none)': make cluster, or set KUBECONFIG"
}

# Runs a command against the cluster's own namespace.
k() { "$KUBECTL" --namespace "$NAMESPACE" "$@"; }

# The name under which every engine and every node knows an image without a registry.
full_name() { case $1 in */*) echo "$1" ;; *) echo "docker.io/library/$1" ;; esac; }

is_kind() { command -v "$KIND" >/dev/null && "$KIND" get clusters 2>/dev/null | grep -qx "$CLUSTER"; }

# Makes build/deploy: the folder given, with this image, these nodes, these components and paths.
render() {
  local source=$1 name=${IMAGE%:*} tag=${IMAGE##*:} folder resources="../../$1" components=""
  for folder in $COMPONENTS ${TREE:+paths}; do
    [ -d "deploy/components/$folder" ] || fail "COMPONENTS=$folder: there is no deploy/components/$folder"
    components+="${components:+, }../../deploy/components/$folder"
  done
  case $tag in */* | "$IMAGE") name=$IMAGE tag=latest ;; esac # no tag, or the colon is a port's
  mkdir -p "$rendered"
  if [ -n "$TREE" ]; then
    resources+=", paths.yaml"
    cat > "$rendered/paths.yaml" <<YAML
apiVersion: v1
kind: ConfigMap
metadata: {name: fakehw-paths, annotations: {config.kubernetes.io/local-config: "true"}}
data: {tree: "$TREE", kubelet: "${KUBELET_ROOT:-/var/lib/kubelet}"}
YAML
  fi
  cat > "$rendered/kustomization.yaml" <<YAML
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [$resources]
components: [$components]
images: [{name: fakehw, newName: "$name", newTag: "$tag"}]
YAML
  if [ -n "$TOPOLOGY" ] && [ "$source" != deploy/hand ]; then
    cp "$TOPOLOGY" "$rendered/topology.yaml" || fail "TOPOLOGY=$TOPOLOGY cannot be read"
  elif [ "$source" = deploy/overlays/kind ]; then
    sed -e "s/host: kind-worker\$/host: $NODE1/" -e "s/host: kind-worker2\$/host: $NODE2/" deploy/base/topology.yaml > "$rendered/topology.yaml"
  else
    rm -f "$rendered/topology.yaml"
  fi
  if [ -e "$rendered/topology.yaml" ]; then
    cat >> "$rendered/kustomization.yaml" <<YAML
configMapGenerator: [{name: fakehw-topology, namespace: fakehw, behavior: replace, files: [topology.yaml]}]
YAML
  fi
  "$KUBECTL" kustomize "$rendered"
}

roll_out() { k rollout status "daemonset/$1" --timeout="$TIMEOUT" || fail "$1 is not ready after $TIMEOUT: $KUBECTL -n $NAMESPACE describe pods"; }

# Gives every node a pod that can write its tree, unless they are there already.
hands() {
  k get daemonset fakehw-plugin >/dev/null 2>&1 || fail "nothing is deployed: make start"
  if ! k get daemonset fakehw-hand >/dev/null 2>&1; then
    render deploy/hand | "$KUBECTL" apply -f -
    roll_out fakehw-hand
  fi
}

# kubectl fakehw, from the virtual environment that make keeps or from the PATH.
fakehw_everywhere() {
  local name
  for name in .venv/bin/kubectl-fakehw "$(command -v kubectl-fakehw || true)"; do
    if [ -x "$name" ]; then "$name" "$@"; return; fi
  done
  fail "kubectl-fakehw is missing: make setup, or pip install 'fakehw[kubectl]'"
}

# Does $1 (break or mend) to the devices DEV, a path or a pattern, with the rest of the arguments.
change() {
  need_cluster
  [ -n "${DEV:-}" ] || fail "which device? DEV=node2/dev3/2, or a pattern"
  hands
  fakehw_everywhere "$1" --namespace "$NAMESPACE" "${@:2}" -- "$DEV"
}

# One of the two alone moves both: the other keeps its default.
if [ -n "$KUBELET_ROOT" ]; then : "${TREE:=/fakehw}"; fi

target=${1:?one of the functions below}
case $target in
  cluster)
    need_engine
    need "$KIND" "it makes clusters out of containers (https://kind.sigs.k8s.io)"
    need "$KUBECTL" "it speaks to the cluster (https://kubernetes.io/docs/tasks/tools)"
    if is_kind; then echo "the kind cluster $CLUSTER is there already"; exit; fi
    mkdir -p build
    "$PYTHON" hack/kind_config.py "$CLUSTER" "$TREES" > build/kind.yaml
    [ "$(basename "$ENGINE")" = docker ] || export KIND_EXPERIMENTAL_PROVIDER=$ENGINE
    "$KIND" create cluster --name "$CLUSTER" --config build/kind.yaml --wait "$TIMEOUT"
    ;;
  build)
    need_engine
    # shellcheck disable=SC2086  # BUILD_FLAGS is a list of words on purpose
    "$ENGINE" build -f deploy/Dockerfile -t "$(full_name "$IMAGE")" ${BASE:+--build-arg "BASE=$BASE"} \
      --build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || true)" ${BUILD_FLAGS:-} .
    if is_kind; then
      if [ "$(basename "$ENGINE")" = docker ]; then
        "$KIND" load docker-image "$(full_name "$IMAGE")" --name "$CLUSTER"
      else
        "$ENGINE" save --format docker-archive -o build/image.tar "$(full_name "$IMAGE")"
        KIND_EXPERIMENTAL_PROVIDER=$ENGINE "$KIND" load image-archive build/image.tar --name "$CLUSTER"
        rm -f build/image.tar
      fi
    else
      echo "built $IMAGE; there is no kind cluster '$CLUSTER' to load it into: push it, or import it on your nodes"
    fi
    ;;
  image-size)
    need_engine
    "$ENGINE" history --format 'table {{.Size}}\t{{.CreatedBy}}' "$(full_name "$IMAGE")" | awk '$1 != "0B"'
    ;;
  start)
    need_cluster
    case $API in
      device-plugin) ;;
      dra)
        "$KUBECTL" get --raw /apis/resource.k8s.io/v1 >/dev/null 2>&1 ||
          fail "API=dra: this cluster does not serve resource.k8s.io/v1, which Kubernetes 1.34 and later do"
        COMPONENTS+=" dra"
        ;;
      *) fail "API=$API: must be device-plugin or dra" ;;
    esac
    [ -d "deploy/overlays/$OVERLAY" ] || fail "OVERLAY=$OVERLAY: there is no deploy/overlays/$OVERLAY"
    said=$(render "deploy/overlays/$OVERLAY" | "$KUBECTL" apply -f -)
    echo "$said"
    # The same name may stand for an image that was built anew.
    if [[ $said == *"daemonset.apps/fakehw-plugin unchanged"* ]]; then k rollout restart daemonset/fakehw-plugin; fi
    roll_out fakehw-plugin
    if [ "$OVERLAY" = kind ] && [ -z "$TOPOLOGY" ] && [ "$API" = dra ]; then
      for node in "$NODE1" "$NODE2"; do
        for _ in $(seq 40); do
          [ -n "$("$KUBECTL" get resourceslices --field-selector "spec.nodeName=$node,spec.driver=myplugin.io" -o name)" ] && continue 2
          sleep 0.5
        done
        fail "there are no slices of $node: $KUBECTL -n $NAMESPACE logs ds/fakehw-plugin"
      done
    elif [ "$OVERLAY" = kind ] && [ -z "$TOPOLOGY" ]; then
      echo "the kubelets tell the API server within 10 s ..."
      "$KUBECTL" wait "node/$NODE1" "node/$NODE2" --for='jsonpath={.status.capacity.myplugin\.io/mydevice-1}' --timeout=20s >/dev/null ||
        fail "the nodes do not show the devices: $KUBECTL -n $NAMESPACE logs ds/fakehw-plugin"
    fi
    ;;
  status)
    need_cluster
    need "$PYTHON" "it draws the table"
    # What is served by DRA is in no Node's status; an older cluster does not know the other kinds.
    { "$KUBECTL" get nodes,resourceslices,resourceclaims -A -o json 2>/dev/null || "$KUBECTL" get nodes -o json; } |
      "$PYTHON" hack/node_table.py
    ;;
  pods)
    need_cluster
    "$KUBECTL" apply -f "$PODS"
    "$KUBECTL" wait --for=condition=Ready pod/dp1-1 pod/dp1-2 --timeout="$TIMEOUT" >/dev/null ||
      fail "dp1-1 and dp1-2 do not run: $KUBECTL describe pods"
    "$KUBECTL" get pods dp1-1 dp1-2 dp1-3 -o wide
    ;;
  hands)
    need_cluster
    hands
    ;;
  break) change break --reason "${REASON:-}" ;;
  mend) change mend ;;
  stop)
    need_cluster
    "$KUBECTL" delete -f deploy/pods.yaml --ignore-not-found
    if "$KUBECTL" get --raw /apis/resource.k8s.io/v1 >/dev/null 2>&1; then
      "$KUBECTL" delete -f deploy/claims.yaml --ignore-not-found
      "$KUBECTL" delete -f deploy/components/dra/policy.yaml -f deploy/components/dra/deviceclasses.yaml --ignore-not-found
      "$KUBECTL" delete clusterrole,clusterrolebinding fakehw-plugin --ignore-not-found
    fi
    "$KUBECTL" delete namespace "$NAMESPACE" --ignore-not-found
    ;;
  clean)
    if is_kind; then
      "$KIND" delete cluster --name "$CLUSTER"
    else
      need_cluster
      if k get daemonset fakehw-plugin >/dev/null 2>&1; then
        hands >/dev/null
        for pod in $(k get pods -l app.kubernetes.io/name=fakehw-hand -o name); do
          # An init container could build it anew at any moment, so the plugin goes first.
          k delete daemonset fakehw-plugin --ignore-not-found --wait >/dev/null
          k exec "$pod" -- find /fakehw -mindepth 1 -delete
        done
      fi
      "$0" stop
      echo "the nodes still show the resources, at 0, and have an empty /fakehw: docs/deploy.md says how to remove both"
    fi
    rm -rf build/deploy build/kind.yaml
    ;;
  e2e)
    need_cluster
    if [ -z "${KUBELET_RESTART:-}" ] && is_kind; then KUBELET_RESTART="docker exec {node} systemctl restart kubelet"; fi
    export IMAGE NODE1 NODE2 KUBELET_RESTART API
    # shellcheck disable=SC2086  # so is TESTS
    exec .venv/bin/python -m pytest -m cluster -s -o log_cli=false "tests/e2e/test_cluster$([ "$API" = dra ] && echo _dra).py" ${TESTS:-}
    ;;
  *) fail "unknown target $target" ;;
esac
