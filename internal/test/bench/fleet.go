package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"valence/cloud/cloudtest"
)

// fleet measures a control plane with many idle atoms, and one idle atom.
func (b *bench) fleet(ctx context.Context) ([]Row, error) {
	rows, err := b.manyIdle(ctx)
	if err != nil {
		return nil, err
	}
	row, err := b.oneIdle(ctx)
	return append(rows, row), err
}

// manyIdle measures the cost of atoms that only poll, and how they return after
// the control plane is killed.
func (b *bench) manyIdle(ctx context.Context) (_ []Row, err error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Max < uint64(b.Fleet)+500 {
		return nil, fmt.Errorf("FLEET=%d needs that many open files, but this machine allows %d: %v", b.Fleet, limit.Max, err)
	}
	data, err := os.MkdirTemp(b.data, "cloud-")
	if err != nil {
		return nil, err
	}
	f, err := cloudtest.NewFleet(ctx, data, b.Fleet)
	if err != nil {
		return nil, err
	}
	c, err := b.plane(ctx, data, "")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.discard()) }()
	f.Start(ctx, c.url)
	defer f.Stop()
	if err := f.Await(ctx, 3*time.Minute); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, c.tail())
	}
	name := figure(float64(b.Fleet)) + " idle atoms, "
	cpu := Row{Workload: name + "the control plane's processor time", Unit: "% of a core", Must: 25, Least: true}
	size := Row{Workload: name + "the control plane's resident memory", Unit: "MiB", Must: 1024, Least: true}
	writes := Row{Workload: name + "commits of the control plane", Unit: "per minute", Least: true}
	for range b.Rounds {
		if err := c.watch(ctx, f, b.Idle, &cpu, &size, &writes); err != nil {
			return nil, err
		}
	}
	address := strings.TrimPrefix(c.url, "http://")
	back := Row{Workload: name + "until all are back after the control plane was killed", Unit: "s", Must: 60, Least: true}
	refused := Row{Workload: name + "most refusals of one for overload while they come back", Unit: "refusals", Must: 2, Least: true}
	for range b.Rounds {
		_ = c.cmd.Process.Kill() // the program may have exited
		<-c.exited
		f.NewRound()
		begin := time.Now()
		if c, err = b.plane(ctx, data, address); err != nil {
			return nil, err
		}
		if err := f.Await(ctx, 3*time.Minute); err != nil {
			return nil, fmt.Errorf("%w\n%s", err, c.tail())
		}
		back.Rounds = append(back.Rounds, [2]float64{0, time.Since(begin).Seconds()})
		refused.Rounds = append(refused.Rounds, [2]float64{0, float64(f.Refused())})
	}
	rows := []Row{cpu, size, writes, back, refused}
	for i := range rows {
		rows[i].Atom = median(second(rows[i].Rounds))
	}
	return rows, nil
}

func second(pairs [][2]float64) (list []float64) {
	for _, p := range pairs {
		list = append(list, p[1])
	}
	return list
}

// watch samples processor time, memory and commits for the given span.
func (c *plane) watch(ctx context.Context, f *cloudtest.Fleet, span time.Duration, cpu, size, writes *Row) error {
	used, err := c.used()
	if err != nil {
		return err
	}
	commits, err := c.commits(ctx)
	if err != nil {
		return err
	}
	polls := f.Polls.Load()
	if err := rest(ctx, span); err != nil {
		return err
	}
	after, err := c.used()
	if err != nil {
		return err
	}
	done, err := c.commits(ctx)
	if err != nil {
		return err
	}
	_, most, err := c.memory()
	if err != nil {
		return err
	}
	cpu.Rounds = append(cpu.Rounds, [2]float64{0, 100 * (after - used).Seconds() / span.Seconds()})
	size.Rounds = append(size.Rounds, [2]float64{0, most})
	writes.Rounds = append(writes.Rounds, [2]float64{0, (done - commits) / span.Minutes()})
	cpu.Notes = []string{fmt.Sprintf("over %v, with %d polls", span, f.Polls.Load()-polls)}
	return nil
}

func rest(ctx context.Context, span time.Duration) error {
	select {
	case <-time.After(span):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// used returns the processor time of the program so far.
func (p *program) used() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+2:]))
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		return 0, err
	}
	system, err := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond, err
}

var commitCount = regexp.MustCompile(`(?m)^valence_commit_batch_size_count (\S+)$`)

// commits returns the control plane's number of commits.
func (c *plane) commits(ctx context.Context) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+"/metrics", http.NoBody)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	m := commitCount.FindSubmatch(text)
	if m == nil {
		return 0, errors.New("the control plane does not tell its commits")
	}
	return strconv.ParseFloat(string(m[1]), 64)
}

// overTwoPolls exceeds two poll intervals of an idle atom; a shorter span may
// contain no poll.
const overTwoPolls = 65 * time.Second

// oneIdle measures the bytes that an idle atom sends over TLS, counted between
// its socket and the control plane's.
func (b *bench) oneIdle(ctx context.Context) (row Row, err error) {
	row = Row{Workload: "An idle atom sends to its control plane, with TLS", Unit: "bytes/s", Must: 200, Least: true}
	cert, key, err := certificate(b.folder)
	if err != nil {
		return row, err
	}
	data, err := os.MkdirTemp(b.data, "cloud-")
	if err != nil {
		return row, err
	}
	c, err := b.plane(ctx, data, "", cert, key)
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, c.discard()) }()
	wire, err := newCounter(strings.TrimPrefix(c.url, "https://"))
	if err != nil {
		return row, err
	}
	defer wire.close()
	p, err := b.joined(ctx, c, "https://"+wire.ln.Addr().String(), "--ca", cert)
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, p.discard()) }()
	if err := rest(ctx, 5*time.Second); err != nil { // all start-up reports are sent
		return row, err
	}
	var received []float64
	window := max(b.Idle, overTwoPolls)
	for range b.Rounds {
		sent, got := wire.sent.Load(), wire.received.Load()
		if err := rest(ctx, window); err != nil {
			return row, err
		}
		row.Rounds = append(row.Rounds, [2]float64{0, float64(wire.sent.Load()-sent) / window.Seconds()})
		received = append(received, float64(wire.received.Load()-got)/window.Seconds())
	}
	if wire.sent.Load() == 0 {
		return row, fmt.Errorf("the atom sends nothing\n%s", p.tail())
	}
	row.Atom = median(second(row.Rounds))
	row.Notes = []string{fmt.Sprintf("it receives %s bytes/s; counted between the sockets, over %v, so without the headers of TCP and IP", figure(median(received)), window)}
	return row, nil
}

// counter forwards connections and counts their bytes.
type counter struct {
	ln             net.Listener
	sent, received atomic.Int64
	mu             sync.Mutex
	open           []net.Conn
}

func newCounter(to string) (*counter, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &counter{ln: ln}
	go func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			w.mu.Lock()
			w.open = append(w.open, in, out)
			w.mu.Unlock()
			go w.pass(out, in, &w.sent)
			go w.pass(in, out, &w.received)
		}
	}()
	return w, nil
}

func (w *counter) pass(to, from net.Conn, count *atomic.Int64) {
	_, _ = io.Copy(io.MultiWriter(to, counting{count}), from) // ends with the connection
	to.Close()
}

type counting struct{ n *atomic.Int64 }

func (c counting) Write(b []byte) (int, error) {
	c.n.Add(int64(len(b)))
	return len(b), nil
}

func (w *counter) close() {
	w.ln.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.open {
		c.Close()
	}
}

// certificate writes a self-signed certificate for 127.0.0.1 and returns the
// paths of certificate and key.
func certificate(folder string) (cert, key string, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	x := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	public, err := x509.CreateCertificate(rand.Reader, x, x, &private.PublicKey, private)
	if err != nil {
		return "", "", err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", "", err
	}
	cert, key = filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem")
	return cert, key, errors.Join(os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: public}), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
}

// trusting returns a transport that trusts one certificate.
func trusting(file string) (*http.Transport, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}, nil
}
