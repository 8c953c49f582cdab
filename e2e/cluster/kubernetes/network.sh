#!/usr/bin/env bash
# The network of a cluster with nodes: a bridge on the machine, which has the API server's address, and for each node a network
# namespace with a way to all pods. The machine reaches pods and Services too. `down` also puts back the kernel's settings that
# kubelets change. network.sh up|down FOLDER NODES
set -euo pipefail
verb=$1 folder=$2 nodes=$3
bridge=evhub-nodes
settings="vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys kernel.keys.root_maxbytes"

up() {
  # shellcheck disable=SC2086 # one word each
  sysctl $settings >"$folder/settings"
  ip link add "$bridge" type bridge
  ip addr add 10.97.0.1/24 dev "$bridge"
  ip link set "$bridge" up
  for i in $(seq "$nodes"); do
    ip netns add "evhub-node-$i"
    ip link add "evhub-node-$i" type veth peer name eth0 netns "evhub-node-$i"
    ip link set "evhub-node-$i" master "$bridge" up
    inside=(ip -n "evhub-node-$i")
    "${inside[@]}" link set lo up
    "${inside[@]}" addr add "10.97.0.$((10 + i))/24" dev eth0
    "${inside[@]}" link set eth0 up
    "${inside[@]}" route add default via 10.97.0.1
    for j in $(seq "$nodes"); do
      [ "$i" = "$j" ] || "${inside[@]}" route add "10.97.$((64 + j)).0/24" via "10.97.0.$((10 + j))"
    done
    nsenter --net="/run/netns/evhub-node-$i" sysctl -qw net.ipv4.ip_forward=1
    ip route add "10.97.$((64 + i)).0/24" via "10.97.0.$((10 + i))"
  done
  ip route add 10.97.128.0/17 via 10.97.0.11
}

# What is not there is gone already.
down() {
  for i in $(seq "$nodes"); do
    # Its groups are empty as soon as the kernel has ended its processes.
    for _ in $(seq 50); do
      find /sys/fs/cgroup/ -depth -type d -path "*/evhub-node-$i*" -exec rmdir {} + 2>/dev/null || true
      [ -n "$(find /sys/fs/cgroup/ -maxdepth 2 -name "evhub-node-$i" -print -quit)" ] || break
      sleep 0.1
    done
    ip netns del "evhub-node-$i" 2>/dev/null || true
    ip link del "evhub-node-$i" 2>/dev/null || true
  done
  ip link del "$bridge" 2>/dev/null || true
  [ ! -e "$folder/settings" ] || sysctl -qp "$folder/settings"
}

"$verb"
