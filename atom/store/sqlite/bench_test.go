package sqlite_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"valence/atom/store"
	"valence/atom/store/sqlite"
)

// appendLog is the physical limit: it appends messages to a file, and
// acknowledges them after a shared flush.
type appendLog struct {
	f     *os.File
	queue chan *appended
}

type appended struct {
	body []byte
	done chan error
}

func (l *appendLog) run() {
	var buf []byte
	for first := range l.queue {
		batch := []*appended{first}
		for more := true; more; {
			select {
			case a, ok := <-l.queue:
				if more = ok; ok {
					batch = append(batch, a)
				}
			default:
				more = false
			}
		}
		buf = buf[:0]
		for _, a := range batch {
			buf = fmt.Appendf(buf, "%08x%08x", len(a.body), crc32.ChecksumIEEE(a.body))
			buf = append(buf, a.body...)
		}
		_, err := l.f.Write(buf)
		if err == nil {
			err = syscall.Fdatasync(int(l.f.Fd()))
		}
		for _, a := range batch {
			a.done <- err
		}
	}
}

func body() []byte {
	b := []byte(`{"order":4711,"customer":{"name":"Ada Lovelace","street":"12 St James's Square","city":"London"},"lines":[`)
	for i := 0; len(b) < 980; i++ {
		b = fmt.Appendf(b, `{"sku":"A-%d","quantity":%d,"price":"%d.%02d"},`, i*7919%1000, i%9+1, i*31%400, i*17%100)
	}
	return append(b, `{"sku":"end"}]}`...)
}

// parallel runs f n times on 64 goroutines, and returns the runs per second.
func parallel(b *testing.B, n int, f func() error) float64 {
	var done atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range 64 {
		wg.Go(func() {
			for done.Add(1) <= int64(n) {
				if err := f(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return float64(n) / time.Since(start).Seconds()
}

// cpu returns the processor time used by this process.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func startStore(b testing.TB, s *sqlite.Store) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	}
}

func message(doc []byte) *store.Message {
	return &store.Message{
		Process: "order-sync", Plan: "order-sync/8f0c1e5b6d3a4f21", Env: "5d41402abc4b2a76b9719d911017c592", Received: time.Now().UTC().Truncate(time.Millisecond),
		Meta:    []byte(`{"correlation_id":"5f0c1e5b-6d3a-4f21-9b7e-0a1b2c3d4e5f","sha256":"2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"}`),
		DocType: "application/json", Doc: doc,
	}
}

func outcome() *store.Outcome {
	now := time.Now()
	return &store.Outcome{Status: store.Completed, Started: now, Ended: now, Trace: []byte(`{"steps":[{"k":"0","s":"map","p":"order.yaml:12:5","a":1700000000000000,"t":31,"o":"done"},{"k":"1","s":"call","p":"order.yaml:20:5","a":1700000000000000,"t":931,"o":"done"}]}`)}
}

// alternations is how often a comparison alternates between its sides, so that
// other load affects both.
const alternations = 10

// BenchmarkAccept compares acknowledgements per second with the physical limit
// on the same disk, alternating: called directly, and through the same HTTP
// server.
func BenchmarkAccept(b *testing.B) {
	for _, front := range []string{"direct", "http"} {
		b.Run(front, func(b *testing.B) {
			f, err := os.Create(filepath.Join(b.TempDir(), "log"))
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			l := &appendLog{f, make(chan *appended, 1024)}
			go l.run()
			defer close(l.queue)
			s, err := sqlite.Open(b.TempDir(), sqlite.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer startStore(b, s)()
			bare := func(doc []byte) error {
				a := &appended{doc, make(chan error, 1)}
				l.queue <- a
				return <-a.done
			}
			stored := func(doc []byte) error {
				_, err := s.Accept(context.Background(), message(doc))
				return err
			}
			if front == "http" {
				bare, stored = behindHTTP(b, bare), behindHTTP(b, stored)
			}
			doc := body()
			var limits, rates, ratios []float64
			var used time.Duration
			b.ResetTimer()
			for range alternations {
				limit := parallel(b, b.N/alternations, func() error { return bare(doc) })
				before := cpu()
				rate := parallel(b, b.N/alternations, func() error { return stored(doc) })
				used += cpu() - before
				limits, rates, ratios = append(limits, limit), append(rates, rate), append(ratios, rate/limit)
			}
			b.ReportMetric(median(rates), "acks/s")
			b.ReportMetric(median(limits), "limit/s")
			b.ReportMetric(median(ratios), "of-limit")
			b.ReportMetric(float64(used.Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
}

// behindHTTP wraps f in a server and 64 connections to it.
func behindHTTP(b *testing.B, f func([]byte) error) func([]byte) error {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		doc := make([]byte, r.ContentLength)
		_, err := io.ReadFull(r.Body, doc)
		if err == nil {
			err = f(doc)
		}
		if err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	b.Cleanup(server.Close)
	conns := make(chan *bufio.ReadWriter, 64)
	for range cap(conns) {
		c, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		conns <- bufio.NewReadWriter(bufio.NewReader(c), bufio.NewWriter(c))
	}
	return func(doc []byte) error {
		c := <-conns
		defer func() { conns <- c }()
		fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", len(doc))
		c.Write(doc)
		if err := c.Flush(); err != nil {
			return err
		}
		r, err := http.ReadResponse(c.Reader, nil)
		if err != nil {
			return err
		}
		if r.Body.Close(); r.StatusCode != http.StatusOK {
			return errors.New(r.Status)
		}
		return nil
	}
}

// BenchmarkAlone compares a single acknowledgement with one append and flush.
func BenchmarkAlone(b *testing.B) {
	f, err := os.Create(filepath.Join(b.TempDir(), "log"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	s := open(b, b.TempDir(), sqlite.Options{})
	defer startStore(b, s)()
	doc := body()
	var flush, accept []float64
	for b.Loop() {
		start := time.Now()
		f.Write(doc)
		syscall.Fdatasync(int(f.Fd()))
		between := time.Now()
		if _, err := s.Accept(ctx, message(doc)); err != nil {
			b.Fatal(err)
		}
		flush = append(flush, float64(between.Sub(start).Microseconds()))
		accept = append(accept, float64(time.Since(between).Microseconds()))
	}
	b.ReportMetric(median(flush), "flush-p50-µs")
	b.ReportMetric(median(accept), "accept-p50-µs")
	b.ReportMetric(median(accept)/median(flush), "of-flush")
}

func median(v []float64) float64 {
	sort.Float64s(v)
	return v[len(v)/2]
}

// BenchmarkEndToEnd accepts, ends and archives messages.
func BenchmarkEndToEnd(b *testing.B) {
	doc := body()
	s, err := sqlite.Open(b.TempDir(), sqlite.Options{})
	if err != nil {
		b.Fatal(err)
	}
	work := make(chan int64, b.N+64)
	s.OnAccepted(func(rs []*store.Record) {
		for _, r := range rs {
			work <- r.Seq
		}
	})
	stop := startStore(b, s)
	b.ResetTimer()
	var ended sync.WaitGroup
	start := time.Now()
	for range 64 {
		ended.Go(func() {
			for seq := range work {
				entry := store.Entry{Path: "1", Kind: "call", At: time.Now(), Body: []byte(`{"s":200,"t":"application/json"}{"id":"ERP-1234","ok":true}`)}
				if err := s.Apply(context.Background(), &store.Change{Seq: seq, Entries: []store.Entry{entry}, Disposition: outcome()}); err != nil {
					b.Error(err)
				}
			}
		})
	}
	before := cpu()
	parallel(b, b.N, func() error {
		_, err := s.Accept(context.Background(), message(doc))
		return err
	})
	close(work)
	ended.Wait()
	b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "done/s")
	b.ReportMetric(float64((cpu()-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
	b.StopTimer()
	stop()
}

// BenchmarkRecord records executions that ran in memory.
func BenchmarkRecord(b *testing.B) {
	doc := body()
	s, err := sqlite.Open(b.TempDir(), sqlite.Options{})
	if err != nil {
		b.Fatal(err)
	}
	stop := startStore(b, s)
	b.ResetTimer()
	for range b.N {
		f := &store.Finished{Record: store.Record{Message: *message(doc)}, Outcome: *outcome()}
		f.Seq = s.Reserve()
		s.Record(f)
	}
	b.StopTimer()
	stop()
	b.ReportMetric(float64(s.Stats().Dropped), "dropped")
	b.ReportMetric(float64(s.Stats().HistoryBytes)/float64(b.N), "bytes/execution")
}

// scale is the number of rows that fill a store; VALENCE_SCALE sets it.
func scale(few int) int {
	if n, err := strconv.Atoi(os.Getenv("VALENCE_SCALE")); err == nil {
		return n
	}
	return few
}

// BenchmarkFull compares throughput of a store with a backlog or a long history
// to that of an empty one, alternating.
func BenchmarkFull(b *testing.B) {
	doc := body()
	fill := map[string]func(s *sqlite.Store){
		"waiting": func(s *sqlite.Store) {
			parallel(b, scale(100_000), func() error {
				a := message(doc)
				a.Process = "backlog"
				_, err := s.Accept(ctx, a)
				return err
			})
		},
		"history": func(s *sqlite.Store) {
			for range scale(100_000) {
				f := &store.Finished{Record: store.Record{Message: *message(doc)}, Outcome: *outcome()}
				f.Seq = s.Reserve()
				s.Record(f)
				if f.Seq%5000 == 0 {
					if err := s.Archive(); err != nil {
						b.Fatal(err)
					}
				}
			}
		},
	}
	for _, name := range []string{"waiting", "history"} {
		b.Run(name, func(b *testing.B) {
			empty, full := open(b, b.TempDir(), sqlite.Options{}), open(b, b.TempDir(), sqlite.Options{})
			defer startStore(b, empty)()
			defer startStore(b, full)()
			fill[name](full)
			runtime.GC()
			debug.FreeOSMemory()
			resident := residentMiB()
			work := func(s *sqlite.Store) float64 {
				return parallel(b, b.N/alternations, func() error {
					r, err := s.Accept(ctx, message(doc))
					if err != nil {
						return err
					}
					return s.Apply(ctx, &store.Change{Seq: r.Seq, Disposition: outcome()})
				})
			}
			var ratios []float64
			b.ResetTimer()
			for range alternations {
				base := work(empty)
				ratios = append(ratios, work(full)/base)
			}
			b.StopTimer()
			start := time.Now()
			if _, _, err := full.List(ctx, store.Filter{Statuses: []string{"completed"}}, "", 50); err != nil {
				b.Error(err)
			}
			b.ReportMetric(median(ratios), "of-empty")
			b.ReportMetric(resident, "resident-MiB")
			b.ReportMetric(float64(time.Since(start).Microseconds())/1000, "list-ms")
			b.ReportMetric(float64(full.Stats().Dropped), "dropped")
		})
	}
}

func residentMiB() float64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, pages float64
	fmt.Sscan(string(text), &size, &pages)
	return pages * float64(os.Getpagesize()) / (1 << 20)
}
