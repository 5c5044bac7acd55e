package s3

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"valence/connectors"
	"valence/connectors/connectortest"
	"valence/internal/access"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/internal/test/servers"
)

const secretKey = "not-in-any-message"

// store is an object store with the bucket "orders".
type store struct{ *servers.S3 }

func newStore(t *testing.T) store {
	t.Helper()
	s, err := servers.NewS3()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return store{s}
}

func (s store) put(t *testing.T, key, text string) {
	t.Helper()
	if err := s.Put(key, text); err != nil {
		t.Fatal(err)
	}
}

// keys returns the keys of all objects, sorted.
func (s store) keys(t *testing.T) string {
	t.Helper()
	keys, err := s.Keys()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(keys, " ")
}

func at(url string, with connectortest.Settings) connectortest.Settings {
	s := connectortest.Settings{"url": url, "access_key": "key", "secret_key": secretKey, "path_style": true, "max_size": "1000B"}
	for k, v := range with {
		s[k] = v
	}
	return s
}

func bind(t *testing.T, fields []spec.Field, into any, values connectortest.Settings) {
	t.Helper()
	o, _ := document.FromPlain(map[string]any(values)).(*document.Object)
	if err := spec.Bind(fields, into, o); err != nil {
		t.Fatal(err)
	}
}

func connect(t *testing.T, s connectortest.Settings) *connection {
	t.Helper()
	into := &settings{}
	bind(t, settingsFields, into, s)
	c, err := open(into, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func call(ctx context.Context, t *testing.T, c *connection, name, body string, with connectortest.Settings) (string, error) {
	t.Helper()
	op, ok := Connector("1").Operation(name)
	if !ok {
		t.Fatalf("there is no operation %s", name)
	}
	w := op.NewWith()
	bind(t, op.With, w, with)
	doc := document.FromText(body)
	if strings.HasPrefix(body, "{") {
		doc = document.FromJSON([]byte(body))
	}
	r, err := op.Run(ctx, c, w, &connectors.Call{Body: doc})
	if err != nil {
		return "", err
	}
	return r.Doc.Data(), nil
}

func wantFailure(t *testing.T, what string, err error, code string, retryable bool, text string) {
	t.Helper()
	f := fault.AsFailure(err)
	if f == nil || f.Code != code || f.Retryable != retryable || !strings.Contains(f.Message, text) {
		t.Errorf("%s: got %v, want %s (retryable: %v) with %q", what, err, code, retryable, text)
	}
}

func TestConforms(t *testing.T) {
	s := newStore(t)
	with := connectortest.Settings{"bucket": "orders", "key": "out/a.json"}
	n := 0
	connectortest.Conform(t, connectortest.Subject{
		Connector: Connector("1.2.3"),
		Settings:  at(s.URL, nil),
		Away:      at("http://"+connectortest.AwayAddress(t), nil),
		Silent:    at("http://"+connectortest.SilentAddress(t), nil),
		Secrets:   []string{secretKey},
		Calls: []connectortest.Call{
			{Operation: "put", With: with, Body: `{"n":1}`},
			{Operation: "get", With: with},
			{Operation: "list", With: connectortest.Settings{"bucket": "orders"}},
			{Operation: "delete", With: with},
			{Operation: "presign", With: with, Local: true},
		},
		Source: &connectortest.Source{
			With:    connectortest.Settings{"bucket": "orders", "prefix": "in/", "every": "10ms", "archive": "done/", "as": "json"},
			Ordered: true,
			Send: func(t *testing.T, doc string) {
				n++
				s.put(t, fmt.Sprintf("in/%06d", n), doc)
			},
		},
	})
}

func TestOperations(t *testing.T) {
	s := newStore(t)
	c := connect(t, at(s.URL, nil))
	s.put(t, "big", strings.Repeat("x", 1001))
	s.put(t, "bad.json", "{")
	for _, x := range []struct{ op, key, body, want string }{
		{"put", "a/b c/ü+%.json", `{"n":0.10}`, "null"},
		{"get", "a/b c/ü+%.json", "", `{"n":0.10}`},
		{"put", "a/b c/ü+%.json", `{"n":2}`, "null"},
		{"get", "a/b c/ü+%.json", "", `{"n":2}`},
		{"put", "empty.txt", "", "null"},
		{"get", "empty.txt", "", `""`},
		{"put", "f.bin", `{"filename":"x","raw":"AP8=","encoding":"base64"}`, "null"},
		{"get", "none", "", "not_found"},
		{"get", "big", "", "too_large"},
		{"get", "bad.json", "", "bad_answer"},
		{"delete", "f.bin", "", "null"},
		{"delete", "f.bin", "", "null"}, // again
	} {
		got, err := call(t.Context(), t, c, x.op, x.body, connectortest.Settings{"bucket": "orders", "key": x.key})
		if err != nil {
			got = fault.AsFailure(err).Code
		}
		if got != x.want {
			t.Errorf("%s %q: got %s (%v), want %s", x.op, x.key, got, err, x.want)
		}
	}
	got, err := call(t.Context(), t, c, "list", "", connectortest.Settings{"bucket": "orders", "prefix": "b"})
	if err != nil || strings.Count(got, `"key"`) != 2 || !strings.Contains(got, `{"key":"bad.json","name":"bad.json","size":1,"modified":"`) {
		t.Errorf("list b: got %s (%v), want bad.json and big", got, err)
	}
	for _, op := range []string{"get", "put"} {
		_, err := call(t.Context(), t, c, op, "x", connectortest.Settings{"bucket": "missing", "key": "x"})
		wantFailure(t, op+" without the bucket", err, CodeMissing, false, "NoSuchBucket")
	}
	if got, want := s.keys(t), "a/b c/ü+%.json bad.json big empty.txt"; got != want {
		t.Errorf("keys: got %s, want %s", got, want)
	}
}

// TestPresign checks that a client without a key can use the URL.
func TestPresign(t *testing.T) {
	s := newStore(t)
	c := connect(t, at(s.URL, nil))
	url := func(method string) string {
		t.Helper()
		got, err := call(t.Context(), t, c, "presign", "", connectortest.Settings{"bucket": "orders", "key": "a b.txt", "method": method, "expires": "1h"})
		if err != nil {
			t.Fatal(err)
		}
		u, _ := document.Key(document.Parse(got), "url")
		if text, _ := u.(string); strings.Contains(text, "X-Amz-Expires=3600") && !strings.Contains(text, secretKey) {
			return text
		}
		t.Fatalf("got %s, want a URL for an hour", got)
		return ""
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url("put"), strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("put: got %v, %v, want 200", resp, err)
	}
	resp.Body.Close()
	resp, err = http.Get(url("get"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(b, []byte("hello")) {
		t.Errorf("get: got %q, %v, want hello", b, err)
	}
}

// TestRefusals checks the failures for answers of a store.
func TestRefusals(t *testing.T) {
	s := newStore(t)
	c := connect(t, at(s.URL, nil))
	for _, x := range []struct {
		status    int
		code      string
		want      string
		retryable bool
	}{
		{403, "SignatureDoesNotMatch", CodeAuth, true}, {403, "InvalidAccessKeyId", CodeAuth, true}, {403, "RequestTimeTooSkewed", CodeAuth, true}, {403, "AccessDenied", CodeAuth, false},
		{503, "SlowDown", fault.CodeUnavailable, true}, {500, "InternalError", fault.CodeUnavailable, true}, {400, "InvalidArgument", CodeBadCall, false},
	} {
		s.Answer(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(x.status)
			fmt.Fprintf(w, "<Error><Code>%s</Code><Message>no</Message></Error>", x.code)
		})
		for _, op := range []string{"get", "put", "delete"} {
			_, err := call(t.Context(), t, c, op, "x", connectortest.Settings{"bucket": "orders", "key": "x"})
			wantFailure(t, op+" "+x.code, err, x.want, x.retryable, "(")
		}
	}
	var requests atomic.Int32
	s.Answer(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		w.Header().Set("Content-Length", "100")
		w.Header().Set("Last-Modified", "Mon, 02 Mar 2026 10:00:00 GMT")
		fmt.Fprint(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	_, err := call(t.Context(), t, c, "get", "", connectortest.Settings{"bucket": "orders", "key": "x"})
	wantFailure(t, "half an object", err, fault.CodeAborted, true, "the connection broke")
	if n := requests.Load(); n != 1 {
		t.Errorf("got %d requests for a call, want 1", n)
	}
}

// TestWatch checks the objects that a subscription receives and leaves.
func TestWatch(t *testing.T) {
	s := newStore(t)
	c := connect(t, at(s.URL, nil))
	s.put(t, "in/1.json", "1")
	s.put(t, "in/bad.json", "{")
	s.put(t, "in/big.json", strings.Repeat("1", 1001))
	s.put(t, "in/folder/", "")
	s.put(t, "in/done/0.json", "0")
	s.put(t, "other/2.json", "2")
	w := &watch{}
	bind(t, subscription().With, w, connectortest.Settings{"bucket": "orders", "prefix": "in/", "every": "10ms", "archive": "in/done/"})
	r := connectortest.NewRuntime()
	replaced := false
	r.Answer = func(m *connectors.Message) error {
		if m.Doc.Text() == "1" && !replaced { // while it is being received
			replaced = true
			s.put(t, "in/1.json", "11")
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- c.Listen(ctx, w, r.Host()) }()
	state, err := r.Await(ctx, func(st connectortest.State) bool {
		return len(st.Accepted) >= 2 && len(st.Refused) >= 2 && s.keys(t) == "in/done/0.json in/done/1.json in/done/bad.json in/done/big.json in/folder/ other/2.json"
	})
	cancel()
	if e := <-ended; e != nil || err != nil {
		t.Fatalf("Listen: got %v (%v) with %d accepted and %d refused of %s, want nil", e, err, len(state.Accepted), len(state.Refused), s.keys(t))
	}
	if a, b := state.Accepted[0].Doc.Text(), state.Accepted[1].Doc.Text(); len(state.Accepted) != 2 || a+" "+b != "1 11" {
		t.Errorf("accepted: got %s, %s, want 1 and then 11", a, b)
	}
}

func TestSettings(t *testing.T) {
	for text, want := range map[string]string{
		"https://s3.example": "", "https://s3.example/": "", "ftp://x": "without a path", "https://s3.example/bucket": "without a path", "https://a:b@s3.example": "without a path",
	} {
		into := &settings{}
		bind(t, settingsFields, into, at(text, nil))
		if got := strings.Join(into.check(), "; "); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
	w := &watch{}
	bind(t, subscription().With, w, connectortest.Settings{"bucket": "orders", "prefix": "in/new/", "archive": "in/"})
	if got := strings.Join(w.check(), "; "); !strings.Contains(got, "must not be a beginning of") {
		t.Errorf("archive: got %q, want that it ignores new objects", got)
	}
	policy, err := access.Local(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	into := &settings{}
	bind(t, settingsFields, into, at(strings.Replace(newStore(t).URL, "127.0.0.1", "localhost", 1), nil))
	c, err := open(into, policy.Signed("shop", []string{"10.0.0.0/8"}))
	if err != nil {
		t.Fatal(err)
	}
	_, err = call(t.Context(), t, c, "get", "", connectortest.Settings{"bucket": "orders", "key": "x"})
	wantFailure(t, "an address that is not allowed", err, CodeBadCall, false, "does not allow")
}
