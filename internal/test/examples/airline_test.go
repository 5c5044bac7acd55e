package examples

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// airline implements the carriers, the inventory and the payment service of the
// booking example. The carriers are slow, one of them always fails, and the
// payment service calls back later.
type airline struct {
	t    *testing.T
	mu   sync.Mutex
	next int
	held map[string]string // hold → held, ticketed, released
	http *http.Client
	wait sync.WaitGroup
}

func (a *airline) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch path := strings.Split(strings.Trim(r.URL.Path, "/"), "/"); {
	case len(path) == 2 && path[1] == "flights":
		a.flights(w, r, path[0])
	case path[0] == "holds":
		a.hold(w, r, path)
	case path[0] == "charges":
		a.charge(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (a *airline) flights(w http.ResponseWriter, r *http.Request, carrier string) {
	take, found := 300*time.Millisecond, []map[string]any{{"flight": "NO7", "price": 420}}
	switch carrier {
	case "east":
		take, found = 900*time.Millisecond, []map[string]any{{"flight": "EA1", "price": 380.50}, {"flight": "EA2", "price": 610}}
	case "south":
		http.Error(w, "internal error", http.StatusUnprocessableEntity)
		return
	}
	select {
	case <-time.After(take):
	case <-r.Context().Done():
	}
	answer(w, found)
}

func (a *airline) hold(w http.ResponseWriter, r *http.Request, path []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case r.Method == http.MethodPost && len(path) == 1:
		a.next++
		id := fmt.Sprintf("H%d", a.next)
		a.held[id] = "held"
		answer(w, map[string]any{"id": id, "price": 380.50})
	case len(path) < 2 || a.held[path[1]] != "held":
		http.Error(w, "unknown hold", http.StatusConflict)
	case r.Method == http.MethodDelete:
		a.held[path[1]] = "released"
		answer(w, map[string]any{})
	default:
		a.held[path[1]] = "ticketed"
		answer(w, map[string]any{"ticket": "T-" + path[1]})
	}
}

func (a *airline) charge(w http.ResponseWriter, r *http.Request) {
	var c struct{ Card, Callback string }
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	result := map[string]any{"approved": true}
	if strings.HasPrefix(c.Card, "0") {
		result = map[string]any{"approved": false, "reason": "card declined"}
	}
	a.wait.Go(func() {
		time.Sleep(200 * time.Millisecond) // the payment service is slow
		body, _ := json.Marshal(result)
		resp, err := a.http.Post(c.Callback, "application/json", bytes.NewReader(body))
		if err != nil {
			a.t.Errorf("cannot call back: %v", err)
			return
		}
		resp.Body.Close()
		if resp.StatusCode >= 300 {
			a.t.Errorf("callback: got %s, want 202", resp.Status)
		}
	})
	answer(w, map[string]any{"charge": "C1"})
}

func (a *airline) state(id string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.held[id]
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the caller may have disconnected
}

// browser opens a URL in a real browser.
func browser(t *testing.T, url string) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("cannot start a browser: %v; `make setup` installs one", err)
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), opts...)
	t.Cleanup(cancel)
	ctx, stop := chromedp.NewContext(ctx)
	t.Cleanup(stop)
	if err := chromedp.Do(ctx, chromedp.Navigate(url)); err != nil {
		t.Fatal(err)
	}
	return ctx
}

// page is the booking page, open in a browser.
type page struct {
	t   *testing.T
	ctx context.Context
}

func (p *page) do(what string, actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 30*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		p.t.Fatalf("%s: %v", what, err)
	}
}

// shows waits until the element with the id contains the text.
func (p *page) shows(id, text string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 30*time.Second)
	defer cancel()
	want, _ := json.Marshal(text)
	if _, err := chromedp.Run(ctx, chromedp.Poll[bool](`document.getElementById("`+id+`").textContent.includes(`+string(want)+`)`)); err != nil {
		got, _ := chromedp.Run(p.ctx, chromedp.Evaluate[string](`document.getElementById("`+id+`").textContent`))
		p.t.Fatalf("#%s: got %q, want %q: %v", id, got, text, err)
	}
}

// hold reserves a seat on the first flight.
func (p *page) hold() {
	p.t.Helper()
	p.do("hold a seat", chromedp.Click("#flights li button", chromedp.NodeVisible))
	p.shows("seat", "EA1 12A")
	p.do("see the session", chromedp.WaitVisible("#buy"))
}

func (p *page) buy(card string) {
	p.t.Helper()
	p.do("buy", chromedp.SetValue("#buy input", card), chromedp.Click("#buy button", chromedp.NodeVisible))
}

// TestBookingInABrowser runs the booking example in a real browser: a slow
// search, a purchase, a declined card, a seat that is not bought, a visitor
// that leaves, and an atom that is killed during a session.
func TestBookingInABrowser(t *testing.T) {
	air := &airline{t: t, held: map[string]string{}, http: &http.Client{Timeout: 10 * time.Second}}
	systems := httptest.NewServer(air)
	t.Cleanup(func() { systems.Close(); air.wait.Wait() })

	project := t.TempDir()
	for _, name := range []string{"booking.yaml", "page.yaml", "connections.yaml"} {
		b, err := os.ReadFile(filepath.Join(folder, "airline-booking", name))
		if err != nil {
			t.Fatal(err)
		}
		short := strings.Replace(string(b), "timeout: 2m", "timeout: 4s", 1) // for a short test
		if err := os.WriteFile(filepath.Join(project, name), []byte(short), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	listen, data := freeAddress(t), t.TempDir()
	up := func() *atom {
		cmd := exec.Command(binary, "run", "--listen", listen, "--admin", "127.0.0.1:0", "--data", data, project)
		cmd.Env = append(os.Environ(), "CARRIERS_URL="+systems.URL, "INVENTORY_URL="+systems.URL, "PAYMENTS_URL="+systems.URL, "PAYMENTS_TOKEN=secret")
		return start(t, cmd, data)
	}
	a := up()
	p := &page{t, browser(t, a.listen)}

	p.do("search", chromedp.Click("#search button", chromedp.NodeVisible))
	p.shows("progress", "north: 1 found") // pushed while the others are still searching
	p.shows("progress", "3 flights")
	p.shows("flights", "EA1, 380.5 EUR")

	p.hold()
	p.buy("4111 1111")
	p.shows("outcome", "booked T-H1")
	p.hold()
	p.buy("0000 0000")
	p.shows("outcome", "refused card declined")
	p.hold()
	p.shows("outcome", "released the two minutes are over")

	p.hold()
	if err := a.cmd.Process.Kill(); err != nil { // SIGKILL while the session waits
		t.Fatal(err)
	}
	<-a.ended
	if err := os.Remove(filepath.Join(data, "running.json")); err != nil {
		t.Fatal(err)
	}
	a = up()
	p.buy("4111 1111")
	p.shows("outcome", "booked T-H4")

	p.hold()
	p.do("leave", chromedp.Navigate("about:blank"))
	a.until("every seat has its final status", func() string {
		for id, want := range map[string]string{"H1": "ticketed", "H2": "released", "H3": "released", "H4": "ticketed", "H5": "released"} {
			if got := air.state(id); got != want {
				return fmt.Sprintf("%s: got %q, want %s", id, got, want)
			}
		}
		return ""
	})
	if t.Failed() {
		t.Logf("the atom's output:\n%s", a.output)
	}
}
