package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"valence/internal/test/bench/baseline/order"
)

// woken is the number of waiting executions that are woken, one after the other.
const woken = 200

// waits measures the memory of executions that wait for a signal, and the time
// from a signal until the step after the wait has called.
func (b *bench) waits(ctx context.Context) (_ []Row, err error) {
	called := make(chan string, woken)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			var o struct {
				ID string `json:"order_id"`
			}
			_ = json.Unmarshal(body, &o) // the body is one of our orders
			called <- o.ID
		}
		w.WriteHeader(http.StatusNoContent)
	})}
	go func() { _ = server.Serve(l) }() // returns when the listener is closed
	defer server.Close()
	p, err := b.atom(ctx, b.project(), "", "http://"+l.Addr().String())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.discard()) }()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()

	begin := time.Now()
	filled, mine, rate := 0, 0, 0.0
	for filled < b.Waits {
		for ; mine < woken && mine <= woken*filled/b.Waits; mine++ { // ours are spread among the others
			if _, err := post(ctx, client, p.url+"/wait", order.New(fmt.Sprintf("mine-%d", mine))); err != nil {
				return nil, err
			}
		}
		load, err := b.drive(ctx, p.url+"/wait", "order", b.Connections, min(enough(b.Waits-filled, rate), 5*time.Second))
		if err != nil {
			return nil, fmt.Errorf("%w\n%s", err, p.tail())
		}
		filled, rate = filled+int(load.Requests), load.rate()
	}
	n, err := b.parked(ctx, p, filled+mine)
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, p.tail())
	}
	b.say("  %d wait after %v", n, time.Since(begin).Round(time.Second))
	now, most, err := b.settled(ctx, p, 5*time.Second)
	if err != nil {
		return nil, err
	}
	size := Row{Workload: figure(float64(b.Waits)) + " executions wait for a signal, resident memory", Unit: "MiB", Must: 250, Least: true, Atom: now,
		Rounds: [][2]float64{{0, now}}, Notes: []string{fmt.Sprintf("%d waited; the most while they came was %s MiB", n, figure(most))}}

	var times []float64
	for _, i := range rand.Perm(mine) {
		id := fmt.Sprintf("mine-%d", i)
		sent := time.Now()
		if _, err := post(ctx, client, p.url+"/wake", order.New(id)); err != nil {
			return nil, fmt.Errorf("%w\n%s", err, p.tail())
		}
		select {
		case got := <-called:
			if got != id {
				return nil, fmt.Errorf("%q was woken instead of %q", got, id)
			}
		case <-time.After(10 * time.Second):
			return nil, fmt.Errorf("%s was not woken\n%s", id, p.tail())
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		times = append(times, float64(time.Since(sent).Microseconds())/1000)
	}
	wake := Row{Workload: "Waking one of them, until its next step has called, median", Unit: "ms", Must: 20, Least: true, Atom: median(times),
		Rounds: [][2]float64{{0, median(times)}}, Notes: []string{fmt.Sprintf("%d were woken, one after the other", mine)}}
	return []Row{size, wake}, nil
}

var waitingDepth = regexp.MustCompile(`(?m)^valence_queue_depth\{process="wait-order",state="waiting"\} (\S+)$`)

// parked waits until n executions are suspended and returns the count.
func (b *bench) parked(ctx context.Context, p *program, n int) (int, error) {
	token, err := os.ReadFile(filepath.Join(p.data, "admin.token"))
	if err != nil {
		return 0, err
	}
	now := 0
	for end := time.Now().Add(15 * time.Minute); time.Now().Before(end); {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.admin+"/metrics", nil)
		if err != nil {
			return 0, err
		}
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, err
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return 0, err
		}
		if m := waitingDepth.FindSubmatch(text); m != nil {
			f, err := strconv.ParseFloat(string(m[1]), 64)
			if err != nil {
				return 0, err
			}
			if now = int(f); now >= n {
				return now, nil
			}
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return 0, fmt.Errorf("%d of %d wait after 15 minutes", now, n)
}
