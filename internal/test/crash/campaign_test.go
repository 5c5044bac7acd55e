package crash

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// campaign sends messages to every process of testdata/campaign.yaml and
// remembers the acknowledged ones.
type campaign struct {
	t       *testing.T
	atom    *atom
	dest    *hostile
	disk    *faultyDisk // nil: the disk does not fail
	client  *http.Client
	next    atomic.Int64
	stop    chan struct{}
	senders sync.WaitGroup
	settled chan struct{}
	answers sync.WaitGroup // of callbacks

	mu        sync.Mutex
	acked     map[string][]string     // ids by path
	locations map[string]string       // of deferred replies, by id
	cancelled map[string]cancellation // acknowledged ones, by id
	kills     []kill
}

// kill is one SIGKILL.
type kill struct {
	from, to time.Time // the program died in between
	since    time.Time // when the disk began to fail before it, otherwise from
}

// cancellation is an acknowledged one.
type cancellation struct {
	execution string
	at        time.Time // of the acknowledgement
}

// TestCampaign kills the program at random while every kind of process runs
// against a hostile destination. Afterwards no acknowledged message is lost,
// no effect is doubled beyond promise 3, and every execution has ended as its
// sender was told.
func TestCampaign(t *testing.T) {
	dest := newHostile(t)
	var disk *faultyDisk
	if kind := os.Getenv("VALENCE_CRASH_FS"); kind != "" {
		disk = mountDisk(t, kind) // unmounted after the program has ended
	}
	a := newAtom(t, strings.TrimPrefix(dest.URL, "http://"))
	if disk != nil {
		a.data = filepath.Join(disk.dir, "data")
	}
	project, err := os.ReadFile("testdata/campaign.yaml")
	if err != nil {
		t.Fatal(err)
	}
	a.runs(string(project))
	random, n := seeded(t), rounds(t)
	c := &campaign{t: t, atom: a, dest: dest, disk: disk, client: &http.Client{Timeout: 10 * time.Second}, stop: make(chan struct{}), settled: make(chan struct{}),
		acked: map[string][]string{}, locations: map[string]string{}, cancelled: map[string]cancellation{}}
	dest.broken.Store(true)
	a.start()
	c.send()
	for range n {
		pause(time.Duration(100+random.IntN(900)) * time.Millisecond)
		c.kill(disk.disturb(random, a.cmd.Process.Pid))
	}
	close(c.stop)
	c.senders.Wait()
	dest.gentle.Store(true)
	c.resubmit()
	c.settle()
	close(c.settled)
	c.answers.Wait()
	c.check(n)
	if code := a.stop(); code != 0 {
		t.Errorf("got exit code %d after SIGTERM, want 0:\n%s", code, a.out.String())
	}
}

// kill kills the program and starts it again. Its disk has failed since then;
// zero: it has not.
func (c *campaign) kill(since time.Time) {
	from := time.Now()
	if since.IsZero() {
		since = from
	}
	c.atom.kill()
	c.mu.Lock()
	c.kills = append(c.kills, kill{from, time.Now(), since})
	c.mu.Unlock()
	c.disk.repair()
	c.atom.start()
}

// send starts the senders, about one for each kind of process.
func (c *campaign) send() {
	c.sender("steps", nil, nil)
	c.sender("steps", nil, nil)
	c.sender("early", nil, nil)
	c.sender("early", nil, nil)
	c.sender("parent", nil, nil)
	c.sender("approval", nil, nil)
	c.answers.Go(c.approve)
	c.sender("counter", nil, nil)
	c.sender("ordered", nil, nil)
	c.sender("brittle", nil, nil)
	c.sender("fleeting", nil, nil)
	c.sender("newest", nil, nil)
	c.sender("changing", nil, nil)
	c.sender("stopped", nil, c.cancel)
	c.sender("stopped", nil, c.cancel)
	c.sender("deferred", func(h http.Header, _ string) { h.Set("Prefer", "respond-async") }, func(id string, r receipt) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.locations[id] = r.Location
	})
	c.sender("once", func(h http.Header, id string) { h.Set("X-Event-Id", id) }, func(id string, _ receipt) {
		for range 2 { // a sender that repeats itself
			c.post("once", id, func(h http.Header, id string) { h.Set("X-Event-Id", id) })
		}
	})
}

// sender posts messages to a path until the campaign ends, one at a time.
func (c *campaign) sender(path string, header func(http.Header, string), then func(id string, r receipt)) {
	c.senders.Go(func() {
		for {
			select {
			case <-c.stop:
				return
			default:
			}
			id := strconv.FormatInt(c.next.Add(1), 10)
			r, ok := c.post(path, id, header)
			if !ok {
				pause(20 * time.Millisecond)
				continue
			}
			c.mu.Lock()
			c.acked[path] = append(c.acked[path], id)
			c.mu.Unlock()
			if then != nil {
				then(id, r)
			}
			pause(20 * time.Millisecond)
		}
	})
}

func (c *campaign) post(path, id string, header func(http.Header, string)) (r receipt, ok bool) {
	req, err := http.NewRequest("POST", "http://"+c.atom.listen+"/"+path, strings.NewReader(fmt.Sprintf(`{"id":%q,"key":%q}`, id, keyOf(id))))
	if err != nil {
		c.t.Error(err)
		return r, false
	}
	req.Header.Set("Content-Type", "application/json")
	if header != nil {
		header(req.Header, id)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return r, false
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 && resp.StatusCode != 202 {
		return r, false
	}
	_ = json.Unmarshal(body, &r) // an early reply is not a receipt
	return r, true
}

// approve answers every callback URL that an order has sent, and then releases
// the order, both until they are accepted. Orders that were not acknowledged
// wait, too.
func (c *campaign) approve() {
	approved, released := map[string]bool{}, map[string]bool{}
	for {
		for id, at := range c.dest.callbackURLs() {
			if !approved[id] {
				approved[id] = c.answer(id, at)
			}
			if approved[id] && !released[id] {
				_, released[id] = c.post("release", id, nil)
			}
		}
		select {
		case <-c.settled:
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// answer answers a callback URL, and reports whether that was accepted.
func (c *campaign) answer(id, at string) bool {
	u, err := url.Parse(at)
	if err != nil {
		c.t.Errorf("callback URL of %s: %v", id, err)
		return true
	}
	resp, err := c.client.Post("http://"+c.atom.listen+u.Path, "application/json", strings.NewReader("{}"))
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusAccepted
}

// cancel cancels an execution after a moment and remembers it if the
// cancellation is acknowledged.
func (c *campaign) cancel(id string, r receipt) {
	pause(time.Duration(rand.IntN(150)) * time.Millisecond)
	status, _ := c.admin("POST", "/api/v1/executions/"+r.Execution+"/cancel", "")
	if status == http.StatusAccepted {
		c.mu.Lock()
		c.cancelled[id] = cancellation{r.Execution, time.Now()}
		c.mu.Unlock()
	}
}

// keyOf returns the key of a message that is ordered or replaces others.
func keyOf(id string) string { return id[len(id)-1:] }

func (c *campaign) admin(method, path, body string) (int, []byte) {
	token, err := os.ReadFile(filepath.Join(c.atom.data, "admin.token"))
	if err != nil {
		return 0, nil
	}
	req, err := http.NewRequest(method, "http://"+c.atom.admin+path, strings.NewReader(body))
	if err != nil {
		c.t.Error(err)
		return 0, nil
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.client.Do(req)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, b
}

// live lists the executions that have not ended.
func (c *campaign) live() (live []string) {
	for _, status := range []string{"accepted", "running", "waiting", "held"} {
		for _, x := range c.atom.executions(status) {
			live = append(live, string(x))
		}
	}
	return live
}

// quiet is how long nothing may happen before the checker gives up.
const quiet = time.Minute

// settle waits until nothing is live any more, as long as calls arrive.
func (c *campaign) settle() {
	last, since := 0, time.Now()
	for time.Since(since) < quiet {
		if len(c.live()) == 0 {
			pause(500 * time.Millisecond) // repeated calls have arrived by now
			return
		}
		if n := c.dest.answers(); n != last {
			last, since = n, time.Now()
		}
		pause(100 * time.Millisecond)
	}
}

// failure is an execution that failed.
type failure struct {
	Execution string `json:"execution"`
	Process   string `json:"process"`
	Status    string `json:"status"`
	Error     struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// failures lists the executions that failed, without expired ones.
func (c *campaign) failures() []failure {
	var page struct {
		Executions []failure `json:"executions"`
	}
	for since := time.Now(); ; pause(time.Second) { // reads are limited in time, and the machine is busy
		status, body := c.admin("GET", "/api/v1/failed?limit=500", "")
		err := json.Unmarshal(body, &page)
		if err == nil && status == http.StatusOK {
			break
		}
		if time.Since(since) > quiet {
			c.t.Fatalf("list failures: got %d %v: %s", status, err, body)
		}
	}
	return slices.DeleteFunc(page.Executions, func(f failure) bool { return f.Status == "expired" })
}

// resubmit repairs the destination, resubmits everything that failed, and
// kills the program in the middle of it. Only messages that the destination
// rejected may have failed.
func (c *campaign) resubmit() {
	c.dest.broken.Store(false)
	kills, last := 3, 0
	for since := time.Now(); time.Since(since) < quiet; pause(300 * time.Millisecond) {
		if n := c.dest.answers(); n != last {
			last, since = n, time.Now()
		}
		processes := map[string]bool{}
		for _, f := range c.failures() {
			if f.Process != "brittle" {
				c.t.Errorf("execution %s of %s failed: %s %s", f.Execution, f.Process, f.Error.Code, f.Error.Message)
				return
			}
			processes[f.Process] = true
		}
		if len(processes) == 0 && len(c.live()) == 0 {
			return
		}
		for p := range processes {
			if status, body := c.admin("POST", "/api/v1/failed/resubmit", fmt.Sprintf(`{"process":%q,"from":"failed_step"}`, p)); status != http.StatusAccepted {
				c.t.Logf("resubmit %s: got %d, trying again: %s", p, status, body)
			}
		}
		if kills > 0 {
			kills--
			pause(100 * time.Millisecond)
			c.kill(time.Time{})
		}
	}
	c.t.Errorf("failed executions remain: %+v", c.failures())
}
