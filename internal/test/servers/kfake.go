package servers

import "github.com/twmb/franz-go/pkg/kfake"

// StartKafkaFake starts a Kafka cluster in this process, on a port, 0 for any free
// one, with topics and the number of their partitions. Its Close stops it.
func StartKafkaFake(port int, topics map[string]int32) (*kfake.Cluster, error) {
	options := []kfake.Opt{kfake.NumBrokers(1)}
	if port != 0 {
		options = append(options, kfake.Ports(port))
	}
	for topic, partitions := range topics {
		options = append(options, kfake.SeedTopics(partitions, topic))
	}
	return kfake.NewCluster(options...)
}
