package console_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"valence/cloud"
	"valence/cloud/cloudtest"
	"valence/cloud/console"
	"valence/internal/wire"
)

// office is a control plane with at least one object of every kind and a token
// for every role.
type office struct {
	*cloudtest.Plane
	tokens  map[cloud.Role]string
	other   string // an administrator of another account
	limited string // an administrator limited to the environment other
	ids     *strings.Replacer
	atom    *cloudtest.Atom
}

func open(t *testing.T) *office {
	t.Helper()
	o := &office{}
	o.Plane = cloudtest.Start(t, cloudtest.Options{Handler: func(s *cloud.Service) http.Handler {
		return console.New(console.Options{Service: s, Version: "test"})
	}})
	prod, empty := o.Environment(t, "prod"), o.Environment(t, "empty")
	other := o.Environment(t, "other")
	o.atom = cloudtest.Join(t, o.URL, o.InstallToken(t, "prod"), "edge-01")
	loose := cloudtest.Join(t, o.URL, o.InstallToken(t, ""), "loose")
	cloudtest.Join(t, o.URL, o.InstallToken(t, "prod"), "never-started")
	o.Deploy(t, prod.ID, "shop", "1", "process: relay\nlisten: { path: /relay, method: POST, auth: none }\nsteps:\n  - log: ${env.SHOP_URL}\n")
	pack, deployment := o.Deploy(t, prod.ID, "shop", "2", "process: relay\nlisten: { path: /relay, method: POST, auth: none }\nsteps:\n  - log: ${env.SHOP_URL}, again\n")
	if err := o.Environments.SetExtensions(t.Context(), o.Admin, prod.ID, []cloud.Extension{{Name: "env.CITY", Set: true, Value: "Wien"}}); err != nil {
		t.Fatal(err)
	}
	o.tokens, o.other = o.RoleTokens(t), o.OtherAccount(t)
	o.limited = o.Token(t, cloud.Token{Name: "limited", Role: cloud.Admin, Environments: []string{other.ID}}).Secret
	spare := o.Token(t, cloud.Token{Name: "spare", Role: cloud.Viewer})
	install, err := o.Fleet.CreateInstallToken(t.Context(), o.Admin, "prod", 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.atom.Poll(t.Context(), 0, 0); err != nil {
		t.Fatal(err)
	}
	request, record := o.ask(t, pack.Components[0])
	o.tell(t, wire.ExecutionReport{Execution: "x0", Process: "relay", Kind: "listener", Status: "failed", Error: "it broke", Received: time.Now(), Ended: time.Now()})
	found, _, err := o.Executions.Records(t.Context(), o.Admin, cloud.RecordFilter{Status: cloud.Failed}, cloud.Cursor{}, 1)
	if err != nil || len(found) != 1 {
		t.Fatalf("got %v, %v, want len(found) 1 and no error", found, err)
	}
	o.ids = strings.NewReplacer("{atom}", o.atom.ID, "{loose}", loose.ID, "{prod}", prod.ID, "{empty}", empty.ID, "{deployment}", deployment.ID, "{package}", pack.ID,
		"{process}", pack.Components[0], "{spare}", spare.ID, "{install}", install.ID, "{request}", request, "{record}", record, "{failed}", found[0].ID)
	return o
}

// ask requests an execution and has the atom report that it is running.
func (o *office) ask(t *testing.T, process string) (request, record string) {
	t.Helper()
	ctx := t.Context()
	request, err := o.Executions.Execute(ctx, o.Admin, cloud.ExecutionRequest{AtomID: o.atom.ID, ProcessID: process})
	if err != nil {
		t.Fatal(err)
	}
	o.tell(t, wire.ExecutionReport{Execution: "x1", Request: request, Process: "relay", Kind: "manual", Status: "running", Received: time.Now()})
	r, err := o.Executions.WaitRecord(ctx, o.Admin, request, 0)
	if err != nil {
		t.Fatal(err)
	}
	return request, r.ID
}

func (o *office) tell(t *testing.T, all ...wire.ExecutionReport) {
	t.Helper()
	if err := o.atom.Report(t.Context(), wire.Reports{Executions: all}); err != nil {
		t.Fatal(err)
	}
}

// answer is a response.
type answer struct {
	code   int
	text   string
	header http.Header
}

// visitor is a browser with a session.
type visitor struct {
	o      *office
	cookie *http.Cookie // nil: none
	csrf   string
	header map[string]string // added to every request
}

var csrfField = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

// signIn signs in with a token.
func (o *office) signIn(t *testing.T, token string) *visitor {
	t.Helper()
	v := &visitor{o: o}
	a := v.send(t, http.MethodPost, "/signin", url.Values{"token": {token}})
	if a.code != http.StatusSeeOther {
		t.Fatalf("signing in: got %d %s, want 303", a.code, a.text)
	}
	cookies := (&http.Response{Header: a.header}).Cookies()
	if len(cookies) != 1 {
		t.Fatalf("got %v, want 1", a.header)
	}
	v.cookie = cookies[0]
	found := csrfField.FindStringSubmatch(v.send(t, http.MethodGet, "/", nil).text)
	if found == nil {
		t.Fatal("the page has no form")
	}
	v.csrf = found[1]
	return v
}

// send sends a request unchanged.
func (v *visitor) send(t *testing.T, method, path string, form url.Values) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, v.o.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, value := range v.header {
		if req.Header.Set(name, value); name == "Host" {
			req.Host = value
		}
	}
	if v.cookie != nil {
		req.AddCookie(v.cookie)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, string(text), resp.Header}
}

// do sends a request as this session's pages do, with the form token.
func (v *visitor) do(t *testing.T, method, path string, form url.Values) answer {
	t.Helper()
	filled := url.Values{"csrf": {v.csrf}}
	for name, values := range form {
		for _, value := range values {
			filled.Add(name, v.o.ids.Replace(value))
		}
	}
	return v.send(t, method, v.o.ids.Replace(path), filled)
}

func (v *visitor) get(t *testing.T, path string) answer {
	t.Helper()
	return v.do(t, http.MethodGet, path, nil)
}

func encode(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}
