package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Kafka is an Apache Kafka cluster of one node. It has a port without a login and
// one with the user KafkaUser.
type Kafka struct {
	Port, SASLPort int

	java, jars string
	controller int
	ready      bool // has been started before
	process
}

// The user of a Kafka cluster.
const (
	KafkaUser     = "valence"
	KafkaPassword = "not-in-any-message"
)

// Brokers returns the address of the cluster.
func (k *Kafka) Brokers() string { return loopback(k.Port) }

// NewKafka starts a cluster. Close stops it. The error is ErrNoJava if this
// machine cannot run it.
func NewKafka() (*Kafka, error) {
	java, dir, err := jars("kafka")
	if err != nil {
		return nil, err
	}
	k := &Kafka{java: java, jars: dir}
	if k.dir, err = os.MkdirTemp("", "valence-kafka"); err != nil {
		return nil, err
	}
	if err := k.Start(); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return k, nil
}

// Start starts the cluster, also again after Kill, and waits until it accepts
// connections.
func (k *Kafka) Start() error {
	err := k.start(&k.Port, k.command, func(ctx context.Context) error { return errors.Join(dials(ctx, k.Port), dials(ctx, k.SASLPort)) })
	k.ready = err == nil
	return err
}

// run returns a command that runs a class of Kafka.
func (k *Kafka) run(class string, args ...string) *exec.Cmd {
	return exec.Command(k.java, append([]string{"-Xmx384m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", filepath.Join(k.jars, "*"), class}, args...)...)
}

func (k *Kafka) command() (*exec.Cmd, error) {
	file, data := filepath.Join(k.dir, "server.properties"), filepath.Join(k.dir, "data")
	if k.ready {
		return k.run("kafka.Kafka", file), nil
	}
	err := os.RemoveAll(data) // of a start with other ports
	if err != nil {
		return nil, err
	}
	for _, port := range []*int{&k.SASLPort, &k.controller} {
		if *port, err = freePort(); err != nil {
			return nil, err
		}
	}
	config := fmt.Sprintf(`process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:%[3]d
listeners=PLAINTEXT://127.0.0.1:%[1]d,SASL_PLAINTEXT://127.0.0.1:%[2]d,CONTROLLER://127.0.0.1:%[3]d
advertised.listeners=PLAINTEXT://127.0.0.1:%[1]d,SASL_PLAINTEXT://127.0.0.1:%[2]d
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_%[4]s="%[5]s";
log.dirs=%[6]s
num.partitions=1
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=100
log.cleaner.enable=false
`, k.Port, k.SASLPort, k.controller, KafkaUser, KafkaPassword, data)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	if out, err := k.run("kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c", file).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("format the storage: %w\n%s", err, out)
	}
	return k.run("kafka.Kafka", file), nil
}
