package examples

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"
)

// customer is a record of an application.
type customer struct {
	ID       string `json:"id"`
	Version  int    `json:"version"`
	Name     string `json:"name"`
	Email    string `json:"email"`
	EditedAt string `json:"edited_at"`
}

// application has customers with versions and reports every change to a webhook:
// in any order, often before the response to the call that made the change,
// sometimes twice, and until it gets 200.
type application struct {
	t    *testing.T
	hook string
	http *http.Client

	mu                 sync.Mutex
	customers          map[string]customer
	edits, reads, puts int
	receipts           map[string]int // receipts by status
	telling            sync.WaitGroup
}

func newApplication(t *testing.T, records int) *application {
	a := &application{t: t, customers: map[string]customer{}, receipts: map[string]int{}, http: &http.Client{Timeout: 20 * time.Second}}
	for i := range records {
		id := strconv.Itoa(i)
		a.customers[id] = customer{ID: id, Version: 1, Name: "nobody", EditedAt: "2026-01-01T00:00:00.000000000Z"}
	}
	return a
}

func (a *application) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := path.Base(r.URL.Path)
	if r.Method == http.MethodGet {
		a.mu.Lock()
		c := a.customers[id]
		a.reads++
		a.mu.Unlock()
		answer(w, c)
		return
	}
	var c customer
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.ID = id
	a.mu.Lock()
	a.puts++
	if r.Header.Get("If-Match") != strconv.Itoa(a.customers[id].Version) {
		a.mu.Unlock()
		http.Error(w, "the customer was changed", http.StatusPreconditionFailed)
		return
	}
	c = a.set(c)
	a.mu.Unlock()
	time.Sleep(rand.N(20 * time.Millisecond)) // the event often arrives first
	answer(w, c)
}

// set changes a customer and reports it. The caller must hold the lock.
func (a *application) set(c customer) customer {
	c.Version = a.customers[c.ID].Version + 1
	a.customers[c.ID] = c
	for range 1 + rand.IntN(5)/4 { // some webhooks are sent twice
		a.telling.Go(func() { a.tell(c.ID, c.Version) })
	}
	return c
}

// edit is an edit by a user of the application.
func (a *application) edit(id, text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.edits++
	a.set(customer{ID: id, Name: text, Email: text + "@example.com", EditedAt: time.Now().UTC().Format("2006-01-02T15:04:05.000000000Z")})
}

func (a *application) tell(id string, version int) {
	if rand.IntN(3) == 0 {
		time.Sleep(rand.N(50 * time.Millisecond)) // a later event may overtake it
	}
	for range 100 {
		req, err := http.NewRequest(http.MethodPost, a.hook, bytes.NewReader(fmt.Appendf(nil, `{"id":%q,"version":%d}`, id, version)))
		if err != nil {
			a.t.Error(err)
			return
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-Hook-Key", "k")
		if resp, err := a.http.Do(req); err == nil {
			body, _ := io.ReadAll(resp.Body) // an incomplete response is not a receipt
			resp.Body.Close()
			var receipt struct{ Status string }
			if resp.StatusCode == http.StatusOK && json.Unmarshal(body, &receipt) == nil {
				a.mu.Lock()
				a.receipts[receipt.Status]++
				a.mu.Unlock()
				return
			}
		}
		time.Sleep(50 * time.Millisecond) // the atom is another program
	}
	a.t.Errorf("version %d of %s was not accepted at %s", version, id, a.hook)
}

// contents returns the customers without the fields that differ between applications.
func (a *application) contents() map[string]customer {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := map[string]customer{}
	for id, c := range a.customers {
		c.Version = 0
		all[id] = c
	}
	return all
}

// TestTwoApplicationsInBothDirections edits customers at random in two
// applications at once, with an atom between them that is killed during the
// test. Both must end equal, with a bounded number of calls per edit and no
// further calls at the end.
func TestTwoApplicationsInBothDirections(t *testing.T) {
	t.Parallel()
	const records = 25
	crm, shop := newApplication(t, records), newApplication(t, records)
	crmServer, shopServer := httptest.NewServer(crm), httptest.NewServer(shop)
	t.Cleanup(crmServer.Close)
	t.Cleanup(shopServer.Close)
	listen, data := freeAddress(t), t.TempDir()
	crm.hook, shop.hook = "http://"+listen+"/crm/changed", "http://"+listen+"/shop/changed"
	up := func() *atom {
		cmd := exec.Command(binary, "run", "--listen", listen, "--admin", "127.0.0.1:0", "--data", data, filepath.Join(folder, "two-way-sync"))
		cmd.Env = append(os.Environ(), "CRM_URL="+crmServer.URL, "SHOP_URL="+shopServer.URL, "HOOK_KEY=k")
		return start(t, cmd, data)
	}
	a := up()

	alike := func(when string) {
		t.Helper()
		for range 2 { // new events may have arrived
			crm.telling.Wait()
			shop.telling.Wait()
			a.settled()
		}
		crm.telling.Wait()
		shop.telling.Wait()
		if got, want := shop.contents(), crm.contents(); !maps.Equal(got, want) {
			for id := range want {
				if got[id] != want[id] {
					t.Errorf("%s: customer %s: got %+v in the shop, want %+v as in the CRM", when, id, got[id], want[id])
				}
			}
		}
	}
	crm.edit("1", "ada")
	alike("one edit in the CRM")
	if got := shop.contents()["1"].Name; got != "ada" {
		t.Errorf("shop: got %q, want ada", got)
	}
	shop.edit("1", "bob")
	alike("one edit in the shop")
	if got := crm.contents()["1"].Name; got != "bob" {
		t.Errorf("CRM: got %q, want bob", got)
	}

	for id := range records {
		crm.edit(strconv.Itoa(id), fmt.Sprint("crm-", id))
		shop.edit(strconv.Itoa(id), fmt.Sprint("shop-", id))
	}
	alike("both at once")
	for id, c := range crm.contents() {
		if c.Name != "shop-"+id {
			t.Errorf("customer %s: got %q, want the later edit of the shop", id, c.Name)
		}
	}

	var people sync.WaitGroup
	for side, app := range map[string]*application{"crm": crm, "shop": shop} {
		people.Go(func() {
			for n := range 60 {
				app.edit(strconv.Itoa(rand.IntN(5)), fmt.Sprint(side, n))
				time.Sleep(rand.N(15 * time.Millisecond)) // people pause between edits
			}
		})
	}
	time.Sleep(300 * time.Millisecond)           // the moment of the kill
	if err := a.cmd.Process.Kill(); err != nil { // SIGKILL during writes
		t.Fatal(err)
	}
	<-a.ended
	if err := os.Remove(filepath.Join(data, "running.json")); err != nil {
		t.Fatal(err)
	}
	a = up()
	people.Wait()
	alike("edits at random, and a crash")

	edits := crm.edits + shop.edits
	puts, reads := crm.puts+shop.puts, crm.reads+shop.reads
	t.Logf("%d edits: %d writes, %d reads; the CRM was told %v, the shop %v", edits, puts, reads, crm.receipts, shop.receipts)
	// Each edit causes one or two events, and each event at most two reads and a
	// write. Interrupted calls are repeated, and 412 causes another attempt.
	if most := 2*edits + 50; puts > most || reads > 2*most {
		t.Errorf("%d edits: got %d writes and %d reads", edits, puts, reads)
	}
	if crm.receipts["echo"] == 0 || shop.receipts["echo"] == 0 {
		t.Error("got no echo of our own writes, want at least one")
	}
	before := crm.reads + crm.puts + shop.reads + shop.puts
	time.Sleep(300 * time.Millisecond) // late calls must have time to arrive
	if after := crm.reads + crm.puts + shop.reads + shop.puts; after != before {
		t.Errorf("got %d calls after the end, want 0", after-before)
	}
	if t.Failed() {
		t.Logf("the atom's output:\n%s", a.output)
	}
}
