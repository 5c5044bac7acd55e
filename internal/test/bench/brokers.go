package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"valence/internal/test/bench/baseline/order"
	"valence/internal/test/servers"
)

const (
	prefetch    = 100  // the default of the connector
	maxInFlight = 1000 // likewise
)

// rabbit moves messages from one durable queue to another.
func (b *bench) rabbit(ctx context.Context) (_ []Row, err error) {
	broker, err := servers.NewRabbitMQ()
	if err != nil {
		return nil, err
	}
	defer func() { err = joined(err, broker.Close) }()
	login := strings.Replace(broker.URL(), "amqp://", "amqp://"+servers.RabbitMQUser+":"+servers.RabbitMQPassword+"@", 1)
	conn, err := amqp.Dial(login)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	look, err := conn.Channel()
	if err != nil {
		return nil, err
	}
	c := &pull{title: "RabbitMQ: queue, process, confirmed publish", baseline: "amqp091-go, manual acknowledgement and confirms", must: 0.5, n: 20_000, process: "relay",
		env: []string{"RABBIT_URL=" + broker.URL(), "RABBIT_USER=" + servers.RabbitMQUser, "RABBIT_PASSWORD=" + servers.RabbitMQPassword},
		project: "connection: broker\nconnector: amqp\nidempotent: key\nurl: ${env.RABBIT_URL}\nuser: ${env.RABBIT_USER}\npassword: ${secret.RABBIT_PASSWORD}\n---\n" +
			"process: relay\nsubscribe: { connection: broker, queue: SOURCE }\nworkers: 100\nsteps:\n  - call: broker.publish\n    with: { routing_key: SOURCE-out }\n"}
	c.fill = func(ctx context.Context, source string) error {
		ch, err := conn.Channel()
		if err != nil {
			return err
		}
		defer ch.Close()
		for _, q := range []string{source, source + "-out"} {
			if _, err := ch.QueueDeclare(q, true, false, false, false, nil); err != nil {
				return err
			}
		}
		if err := ch.Confirm(false); err != nil {
			return err
		}
		var last *amqp.DeferredConfirmation
		for i := range c.n {
			if last, err = ch.PublishWithDeferredConfirmWithContext(ctx, "", source, true, false, persistent(order.New(fmt.Sprint(i)), fmt.Sprint(source, "-", i))); err != nil {
				return err
			}
		}
		_, err = last.WaitContext(ctx)
		return err
	}
	c.program = func(ctx context.Context, source string) error {
		conn, err := amqp.Dial(login)
		if err != nil {
			return err
		}
		defer conn.Close()
		in, err := conn.Channel()
		if err != nil {
			return err
		}
		out, err := conn.Channel()
		if err != nil {
			return err
		}
		if err := out.Confirm(false); err != nil {
			return err
		}
		if err := in.Qos(prefetch, 0, false); err != nil {
			return err
		}
		received, err := in.Consume(source, "", false, false, false, false, nil)
		if err != nil {
			return err
		}
		type sent struct {
			confirm *amqp.DeferredConfirmation
			from    amqp.Delivery
		}
		waiting, ended := make(chan sent, prefetch), make(chan error, 1)
		go func() {
			for range c.n {
				s := <-waiting
				if ok, err := s.confirm.WaitContext(ctx); err != nil || !ok {
					ended <- fmt.Errorf("not confirmed: %w", err)
					return
				}
				if err := s.from.Ack(false); err != nil {
					ended <- err
					return
				}
			}
			ended <- nil
		}()
		for range c.n {
			d := <-received
			confirm, err := out.PublishWithDeferredConfirmWithContext(ctx, "", source+"-out", true, false, persistent(d.Body, d.MessageId))
			if err != nil {
				return err
			}
			waiting <- sent{confirm, d}
		}
		return <-ended
	}
	c.finished = func(_ context.Context, _ *program, source string) (int, error) {
		q, err := look.QueueDeclarePassive(source+"-out", true, false, false, false, nil)
		return q.Messages, err
	}
	return one(b.measurePull(ctx, c))
}

func persistent(body []byte, id string) amqp.Publishing {
	return amqp.Publishing{DeliveryMode: amqp.Persistent, ContentType: "application/json", MessageId: id, Body: body}
}

// stream receives a stream of NATS JetStream.
func (b *bench) stream(ctx context.Context) (_ []Row, err error) {
	server, err := servers.StartNATS(0, filepath.Join(b.data, "nats"), nil)
	if err != nil {
		return nil, err
	}
	defer server.Close()
	nc, err := nats.Connect(server.URL)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(1000))
	if err != nil {
		return nil, err
	}
	c := &pull{title: "NATS JetStream: consumer, process that ends", baseline: "nats.go, explicit acknowledgement", must: 0.4, n: 150_000, process: "take",
		env: []string{"NATS_URL=" + server.URL}, finished: completed,
		project: "connection: broker\nconnector: nats\nurl: ${env.NATS_URL}\n---\n" +
			"process: take\nsubscribe: { connection: broker, stream: SOURCE, consumer: take }\nworkers: 64\nbacklog: 1000000\nsteps:\n  - set: { id: \"${doc.order_id}\" }\n"}
	c.fill = func(ctx context.Context, source string) error {
		if err := server.Stream(source, source+".>"); err != nil {
			return err
		}
		for i := range c.n {
			if _, err := js.PublishAsync(source+".order", order.New(fmt.Sprint(i))); err != nil {
				return err
			}
			if i%500 < 499 && i < c.n-1 { // the client waits only briefly for acknowledgements
				continue
			}
			select {
			case <-js.PublishAsyncComplete():
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	}
	c.program = func(ctx context.Context, source string) error {
		nc, err := nats.Connect(server.URL)
		if err != nil {
			return err
		}
		defer nc.Close()
		js, err := jetstream.New(nc)
		if err != nil {
			return err
		}
		consumer, err := js.CreateConsumer(ctx, source, jetstream.ConsumerConfig{Durable: "plain", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: maxInFlight})
		if err != nil {
			return err
		}
		messages, err := consumer.Messages()
		if err != nil {
			return err
		}
		defer messages.Stop()
		for range c.n {
			m, err := messages.Next()
			if err != nil {
				return err
			}
			if err := m.Ack(); err != nil {
				return err
			}
		}
		for {
			info, err := consumer.Info(ctx)
			if err != nil || info.AckFloor.Stream >= uint64(c.n) {
				return err
			}
			<-time.After(5 * time.Millisecond)
		}
	}
	return one(b.measurePull(ctx, c))
}

// kafka receives a topic of a cluster in this process, and of a real one if this
// machine has Java.
func (b *bench) kafka(ctx context.Context) (rows []Row, err error) {
	fake, err := servers.StartKafkaFake(0, nil)
	if err != nil {
		return nil, err
	}
	rows, err = one(b.topic(ctx, "kfake", strings.Join(fake.ListenAddrs(), ",")))
	fake.Close()
	if err != nil {
		return nil, err
	}
	cluster, err := servers.NewKafka()
	if err != nil {
		b.say("  without a real cluster: %v", err)
		return rows, nil
	}
	defer func() { err = joined(err, cluster.Close) }()
	row, err := b.topic(ctx, "Apache Kafka", cluster.Brokers())
	return append(rows, row), err
}

func (b *bench) topic(ctx context.Context, name, brokers string) (Row, error) {
	seeds := kgo.SeedBrokers(strings.Split(brokers, ",")...)
	x, err := kgo.NewClient(seeds, kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	if err != nil {
		return Row{}, err
	}
	defer x.Close()
	c := &pull{title: "Kafka (" + name + "): topic, process that ends", baseline: "franz-go, commit after an append and fsync", must: 0.4, n: 200_000, process: "take",
		env: []string{"KAFKA_BROKERS=" + brokers}, finished: completed,
		project: "connection: broker\nconnector: kafka\nbrokers: ${env.KAFKA_BROKERS}\n---\n" +
			"process: take\nsubscribe: { connection: broker, topic: SOURCE, group: SOURCE }\nworkers: 64\nbacklog: 1000000\nsteps:\n  - set: { id: \"${doc.order_id}\" }\n"}
	c.fill = func(ctx context.Context, source string) error {
		if _, err := kadm.NewClient(x).CreateTopic(ctx, 4, 1, nil, source); err != nil {
			return err
		}
		for i := range c.n {
			x.Produce(ctx, &kgo.Record{Topic: source, Value: order.New(fmt.Sprint(i))}, nil)
		}
		return x.Flush(ctx)
	}
	c.program = func(ctx context.Context, source string) error {
		x, err := kgo.NewClient(seeds, kgo.ConsumerGroup("plain-"+source), kgo.ConsumeTopics(source), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit())
		if err != nil {
			return err
		}
		defer x.Close()
		f, err := os.Create(filepath.Join(b.data, "plain-"+source))
		if err != nil {
			return err
		}
		defer f.Close()
		for n := 0; n < c.n; {
			records := x.PollRecords(ctx, 10_000).Records()
			var text []byte
			for _, r := range records {
				text = append(binary.BigEndian.AppendUint32(text, uint32(len(r.Value))), r.Value...)
			}
			if _, err := f.Write(text); err != nil {
				return err
			}
			if err := f.Sync(); err != nil {
				return err
			}
			if err := x.CommitRecords(ctx, records...); err != nil {
				return err
			}
			if n += len(records); ctx.Err() != nil {
				return ctx.Err()
			}
		}
		return nil
	}
	return b.measurePull(ctx, c)
}
