# shellcheck shell=bash
# Sourced. Three small real brokers with three partitions, each held by all three, on three loopback addresses; and a
# client's way of asking which process instances they have.
# Needs ZEEBE_HOME and JAVA_HOME. This file must not know how the data directories are made, or backed up.

# zeebe_install FOLDER DATA N: FOLDER/broker-N gets an install of its own (bin, config and lib are links) and a command
# `start` that stays in the foreground. Its data is DATA/broker-N/data. The brokers are 127.0.N.1, .2 and .3, with Zeebe's
# default ports but for the internal one: whatever its address, a broker takes UDP on all addresses of the machine there, so
# that with one port for all, one gets what was meant for another. The name of FOLDER is the cluster's.
zeebe_install() {
  local node folder contacts
  zeebe_folder=$1 zeebe_range=$3
  contacts=$(for node in 0 1 2; do echo "$(zeebe_address $node):$(zeebe_internal_port $node)"; done | paste -sd,)
  for node in 0 1 2; do
    folder=$1/broker-$node
    mkdir -p "$folder/zeebe"
    ln -s "$ZEEBE_HOME"/{bin,config,lib} "$folder/zeebe/"
    cat >"$folder/start" <<END
#!/bin/sh
export JAVA_HOME='$JAVA_HOME'
export ZEEBE_BROKER_DATA_DIRECTORY='$2/broker-$node/data'
export ZEEBE_BROKER_CLUSTER_NODEID=$node
export ZEEBE_BROKER_CLUSTER_CLUSTERNAME=${1##*/}
export ZEEBE_BROKER_CLUSTER_CLUSTERSIZE=3
export ZEEBE_BROKER_CLUSTER_PARTITIONSCOUNT=3
export ZEEBE_BROKER_CLUSTER_REPLICATIONFACTOR=3
export ZEEBE_BROKER_CLUSTER_INITIALCONTACTPOINTS=$contacts
export ZEEBE_BROKER_NETWORK_INTERNALAPI_PORT=$(zeebe_internal_port $node)
export ZEEBE_BROKER_NETWORK_HOST=$(zeebe_address $node)
export ZEEBE_BROKER_NETWORK_ADVERTISEDHOST=$(zeebe_address $node)
export ZEEBE_BROKER_GATEWAY_ENABLE=true
export ZEEBE_BROKER_GATEWAY_NETWORK_HOST=$(zeebe_address $node)
export SERVER_ADDRESS=$(zeebe_address $node)
export MANAGEMENT_SERVER_ADDRESS=$(zeebe_address $node)
# Small, so that three fit beside other work.
export JAVA_OPTS='-Xms64m -Xmx256m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Djava.io.tmpdir=$folder'
export ZEEBE_BROKER_THREADS_CPUTHREADCOUNT=1
export ZEEBE_BROKER_THREADS_IOTHREADCOUNT=1
export ZEEBE_BROKER_DATA_LOGSEGMENTSIZE=8MB
export ZEEBE_BROKER_EXPERIMENTAL_ROCKSDB_MEMORYLIMIT=32MB
export ZEEBE_BROKER_DATA_DISK_FREESPACE_PROCESSING=200MB
export ZEEBE_BROKER_DATA_DISK_FREESPACE_REPLICATION=100MB
exec '$folder/zeebe/bin/broker'
END
    chmod +x "$folder/start"
  done
}

zeebe_address() {
  echo "127.0.$zeebe_range.$(($1 + 1))"
}

zeebe_internal_port() {
  echo "$((26000 + 10 * zeebe_range + $1))"
}

# The addresses must be free: two clusters on one would find each other.
zeebe_addresses_are_free() {
  local node
  for node in 0 1 2; do
    if (: <"/dev/tcp/$(zeebe_address "$node")/26500") 2>/dev/null; then
      echo "a broker is running on $(zeebe_address "$node") already" >&2
      return 1
    fi
  done
}

# Each in a session of its own, as a service manager would.
zeebe_start() {
  local node
  for node in 0 1 2; do
    setsid --fork "$zeebe_folder/broker-$node/start" >>"$zeebe_folder/broker-$node/log" 2>&1 </dev/null
  done
}

# zbctl ARGUMENT...: Zeebe's own client.
zbctl() {
  "$ZEEBE_HOME/bin/zbctl" --insecure --address "$(zeebe_address 0):26500" "$@"
}

# zeebe_wait_healthy SECONDS: until each of the three partitions has three healthy members, one of them its leader.
zeebe_wait_healthy() {
  local deadline=$((SECONDS + $1))
  until [[ $(zbctl status --output json 2>/dev/null | jq '[.brokers[].partitions[] | select(.health == "HEALTHY")] |
      [length, ([.[] | select(.role == "LEADER")] | length)] == [9, 3]') == true ]]; do
    if ((SECONDS > deadline)); then
      echo "the cluster is not healthy after $1 s" >&2
      zbctl status >&2
      tail -n 5 "$zeebe_folder"/broker-*/log >&2
      return 1
    fi
    sleep 0.2
  done
}

# A process of one service task, so that an instance waits until its job is completed.
zeebe_deploy() {
  cat >"$zeebe_folder/order.bpmn" <<'END'
<?xml version="1.0" encoding="UTF-8"?>
<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL" xmlns:zeebe="http://camunda.org/schema/zeebe/1.0" targetNamespace="orders">
  <process id="order" isExecutable="true">
    <startEvent id="placed"/>
    <sequenceFlow id="to-pack" sourceRef="placed" targetRef="pack"/>
    <serviceTask id="pack">
      <extensionElements><zeebe:taskDefinition type="pack"/></extensionElements>
    </serviceTask>
    <sequenceFlow id="to-sent" sourceRef="pack" targetRef="sent"/>
    <endEvent id="sent"/>
  </process>
</definitions>
END
  zbctl deploy resource "$zeebe_folder/order.bpmn" >/dev/null
}

# zeebe_create COUNT: starts that many instances and prints their keys, sorted.
zeebe_create() {
  local i answer keys=
  for ((i = 0; i < $1; i++)); do
    answer=$(zbctl create instance order) || return 1
    keys+=$answer
  done
  jq -r .processInstanceKey <<<"$keys" | sort
}

# Activates all jobs there are and prints a line for each: its key and its instance's. Ends when an activation, which
# asks every partition, has come back empty; that takes the client's 10 seconds.
zeebe_activate() {
  local answer jobs
  while answer=$(zbctl activate jobs pack --maxJobsToActivate 1000 --timeout 10m) || return 1; do
    jobs=$(jq -r '.jobs[] | "\(.key) \(.processInstanceKey)"' <<<"$answer") || return 1
    [[ $jobs ]] || return 0
    printf '%s\n' "$jobs"
  done
}

# zeebe_complete KEY...: completes jobs.
zeebe_complete() {
  local key
  for key; do
    zbctl complete job "$key" >/dev/null || return 1
  done
}
