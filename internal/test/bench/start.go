package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"valence/internal/test/bench/baseline/order"
)

// written writes a project of n ordinary processes: half of them reply, half
// acknowledge and call.
func (b *bench) written(n int) (string, error) {
	folder, err := os.MkdirTemp(b.folder, "project-")
	if err != nil {
		return "", err
	}
	var text strings.Builder
	text.WriteString("connection: sink\nconnector: http\nidempotent: natural\nurl: ${env.SINK_URL}\n")
	for i := range n {
		if i%2 == 0 {
			fmt.Fprintf(&text, `---
process: answer-%d
listen: { path: /answer/%d, input: json, output: json, auth: none }
steps:
  - if: ${doc.total == 0}
    then:
      - throw: an order of nothing
        status: 422
  - map:
      orderId: ${doc.order_id}
      customer: ${upper(doc.customer.name)}
      total: ${doc.total}
      lines:
        $each: ${doc.lines}
        sku: ${item.sku}
        amount: ${item.qty * item.price}
  - reply: ${doc}
`, i, i)
			continue
		}
		fmt.Fprintf(&text, `---
process: send-%d
listen: { path: /send/%d, input: json, auth: none }
dedupe: { key: "${doc.order_id}", window: 24h }
steps:
  - name: order
    call: sink.get
    with: { path: "/orders/${doc.order_id}" }
  - map:
      orderId: ${doc.order_id}
      total: ${sum(doc.lines, .price * .qty)}
  - call: sink.post
    with: { path: /sink }
`, i, i)
	}
	return folder, os.WriteFile(filepath.Join(folder, "project.yaml"), []byte(text.String()), 0o600)
}

// started starts an atom with a new data folder and returns the time until its
// first response, in milliseconds.
func (b *bench) started(ctx context.Context, project string, within time.Duration) (*program, float64, error) {
	p, err := b.startAtom(ctx, project, "", "http://127.0.0.1:1")
	if err != nil {
		return nil, 0, err
	}
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	body := order.New("start-1")
	deadline := time.After(within)
	for {
		_, err := post(ctx, client, p.url+"/answer/0", body)
		if err == nil {
			return p, float64(time.Since(p.started).Microseconds()) / 1000, nil
		}
		select {
		case <-time.After(500 * time.Microsecond):
		case <-p.exited:
			return nil, 0, b.orStop(p, fmt.Errorf("valence ended while starting:\n%s", p.tail()))
		case <-deadline:
			return nil, 0, b.orStop(p, fmt.Errorf("no answer after %v: %w\n%s", within, err, p.tail()))
		case <-ctx.Done():
			return nil, 0, b.orStop(p, ctx.Err())
		}
	}
}

func (b *bench) coldStart(ctx context.Context) ([]Row, error) {
	project, err := b.written(10)
	if err != nil {
		return nil, err
	}
	row := Row{Workload: "Cold start to first answer, 10 processes", Unit: "ms", Must: 150, Aim: 50, Least: true}
	var times []float64
	for range max(10, b.Rounds) {
		p, ms, err := b.started(ctx, project, time.Minute)
		if err != nil {
			return nil, err
		}
		if err := p.discard(); err != nil {
			return nil, err
		}
		times = append(times, ms)
		row.Rounds = append(row.Rounds, [2]float64{0, ms})
	}
	row.Atom = median(times)
	row.Notes = []string{"each with a new data folder"}
	return []Row{row}, nil
}

func (b *bench) manyProcesses(ctx context.Context) ([]Row, error) {
	project, err := b.written(b.Processes)
	if err != nil {
		return nil, err
	}
	name := figure(float64(b.Processes)) + " processes loaded"
	span := Row{Workload: name + ", time to first answer", Unit: "ms", Must: 2000, Aim: 1000, Least: true}
	size := Row{Workload: name + ", resident memory", Unit: "MiB", Must: 150, Least: true}
	var times, sizes, peaks []float64
	for range b.Rounds {
		p, ms, err := b.started(ctx, project, 5*time.Minute)
		if err != nil {
			return nil, err
		}
		now, most, err := b.settled(ctx, p, 3*time.Second)
		if err := errors.Join(err, p.discard()); err != nil {
			return nil, err
		}
		times, sizes, peaks = append(times, ms), append(sizes, now), append(peaks, most)
		span.Rounds = append(span.Rounds, [2]float64{0, ms})
		size.Rounds = append(size.Rounds, [2]float64{0, now})
	}
	span.Atom, size.Atom = median(times), median(sizes)
	size.Notes = []string{"3 s after the first answer; the most while loading was " + figure(median(peaks)) + " MiB"}
	return []Row{span, size}, nil
}

func (b *bench) idle(ctx context.Context) ([]Row, error) {
	project, err := b.written(10)
	if err != nil {
		return nil, err
	}
	row := Row{Workload: "Idle memory, 10 processes", Unit: "MiB", Must: 40, Aim: 25, Least: true}
	var sizes []float64
	for range b.Rounds {
		p, _, err := b.started(ctx, project, time.Minute)
		if err != nil {
			return nil, err
		}
		now, _, err := b.settled(ctx, p, 10*time.Second)
		if err := errors.Join(err, p.discard()); err != nil {
			return nil, err
		}
		sizes = append(sizes, now)
		row.Rounds = append(row.Rounds, [2]float64{0, now})
	}
	row.Atom = median(sizes)
	row.Notes = []string{"10 s after the first answer"}
	return []Row{row}, nil
}

// settled returns the memory of a program that was idle for d.
func (b *bench) settled(ctx context.Context, p *program, d time.Duration) (now, most float64, err error) {
	select {
	case <-time.After(d):
	case <-p.exited:
		return 0, 0, fmt.Errorf("%s ended:\n%s", p.name, p.tail())
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	}
	return p.memory()
}
