package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"valence/internal/test/bench/baseline/order"
)

// streams is the number of event streams opened at once.
const streams = 5000

// replies compares the acceptance of deferred messages with that of
// fire-and-forget messages, and measures the memory of open event streams.
func (b *bench) replies(ctx context.Context) (rows []Row, err error) {
	_, p, discard, err := b.site(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, discard()) }()
	acks := Row{Workload: "Deferred messages, accepted/s", Baseline: "fire-and-forget, on the same atom", Unit: "accepted/s", Must: 0.9, Aim: 1}
	size := Row{Workload: figure(streams) + " open event streams, resident memory", Unit: "MiB", Must: 400, Least: true}
	var bases, atoms []float64
	for _, path := range []string{"/hold", "/hold-later"} {
		if _, err := b.drive(ctx, p.url+path, "order", b.Connections, b.Warmup); err != nil {
			return nil, fmt.Errorf("%w\n%s", err, p.tail())
		}
	}
	for round := range b.Rounds {
		var pair [2]float64
		for turn := range 2 {
			which := (turn + round) % 2
			l, err := b.drive(ctx, p.url+[]string{"/hold", "/hold-later"}[which], "order", b.Connections, b.Duration)
			if err != nil {
				return nil, fmt.Errorf("%w\n%s", err, p.tail())
			}
			pair[which] = l.rate()
		}
		bases, atoms = append(bases, pair[0]), append(atoms, pair[1])
		acks.Rounds = append(acks.Rounds, pair)
	}
	acks.Base, acks.Atom = median(bases), median(atoms)

	before, _, err := b.settled(ctx, p, time.Second)
	if err != nil {
		return nil, err
	}
	location, err := accepted(ctx, p.url+"/hold-later")
	if err != nil {
		return nil, err
	}
	closeAll, err := follow(ctx, strings.TrimPrefix(p.url, "http://"), location, streams)
	defer closeAll()
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, p.tail())
	}
	if size.Atom, _, err = b.settled(ctx, p, 2*time.Second); err != nil {
		return nil, err
	}
	size.Rounds = [][2]float64{{0, size.Atom}}
	size.Notes = append(size.Notes, fmt.Sprintf("%s MiB before they were opened, after the load above", figure(before)))
	return []Row{acks, size}, nil
}

// accepted posts one deferred message and returns its location.
func accepted(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(string(order.New("followed"))))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var receipt struct{ Location string }
	if err := json.NewDecoder(resp.Body).Decode(&receipt); err != nil || receipt.Location == "" {
		return "", fmt.Errorf("a deferred message was answered %s: %v", resp.Status, err)
	}
	return receipt.Location, nil
}

// follow opens n event streams and waits for the first event of each.
func follow(ctx context.Context, address, location string, n int) (closeAll func(), err error) {
	var open []net.Conn
	closeAll = func() {
		for _, c := range open {
			c.Close()
		}
	}
	for i := range n {
		c, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp", address)
		if err != nil {
			return closeAll, fmt.Errorf("stream %d: %w", i, err)
		}
		open = append(open, c)
		if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			return closeAll, err
		}
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\n\r\n", location, address)
		lines := bufio.NewScanner(c)
		for lines.Scan() && lines.Text() != "event: accepted" {
		}
		if err := lines.Err(); err != nil || lines.Text() != "event: accepted" {
			return closeAll, fmt.Errorf("stream %d sends no event: %v", i, err)
		}
	}
	return closeAll, nil
}
