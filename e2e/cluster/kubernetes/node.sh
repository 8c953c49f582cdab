#!/usr/bin/env bash
# The first process of a node, in namespaces of its own: containerd, kube-proxy and the kubelet at their usual paths, which
# are mounted from the node's folder, so that the machine's own stay as they are. When one of the three ends, the node does.
# node.sh FOLDER NAME PROGRAMS KUBECONFIGS: the node's folder has its configuration; images/ beside it what it can run.
set -euo pipefail
folder=$1 name=$2 programs=$3 cluster=$4
hostname "$name"
mount --make-rshared /

rm -rf "$folder/run" # as after a reboot
for path in /var/lib/kubelet /var/lib/containerd /var/lib/cni /var/log/pods /var/log/containers /run/containerd /run/netns /run/cni; do
  mkdir -p "$path" "$folder$path"
  mount --bind "$folder$path" "$path"
done

# A cgroup of the node's own in every hierarchy of v1, or in the one of v2. Groups that a lost node left cost the kubelet
# seconds each.
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*/; do
  [ -e "$hierarchy/cgroup.procs" ] || continue
  group=$hierarchy/evhub-$name
  [ ! -e "$group" ] || find "$group" -depth -type d -exec rmdir {} + || true
  mkdir -p "$group"
  for file in cpuset.cpus cpuset.mems; do
    [ ! -e "$group/$file" ] || [ ! -e "$hierarchy/$file" ] || cat "$hierarchy/$file" >"$group/$file"
  done
done

containerd --config "$folder/containerd.toml" >>"$folder/containerd.log" 2>&1 &
tries=300
until ctr version >/dev/null 2>&1; do
  [ $((tries -= 1)) -gt 0 ] || { echo "containerd does not answer: $folder/containerd.log"; exit 1; }
  sleep 0.2
done
for image in "$cluster"/images/*.tar; do ctr --namespace k8s.io images import "$image"; done
"$programs/kube-proxy" --config "$folder/proxy.yaml" >>"$folder/kube-proxy.log" 2>&1 &
"$programs/kubelet" --config "$folder/kubelet.yaml" --kubeconfig "$cluster/$name.conf" \
  --hostname-override "$name" --node-ip "$(cat "$folder/address")" >>"$folder/kubelet.log" 2>&1 &
wait -n || true
echo "a part of the node ended: see the logs in $folder"
exit 1
