package platform

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
)

// connect opens a connection to a server with the handler h.
func connect(t *testing.T, h http.HandlerFunc) *connection {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	s := &settings{}
	o := &document.Object{}
	for k, v := range map[string]string{"url": server.URL, "user": "relay@example.com", "token": "s3cret", "max_response": "4KB"} {
		o.Set(k, v)
	}
	if err := spec.Bind(settingsFields, s, o); err != nil {
		t.Fatal(err)
	}
	c, err := open(s, "1.2.3", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func answer(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

const requested = `{"@type":"ExecutionRequest","requestId":"executionrecord-1","recordUrl":"https://cloud.example/r"}`

func TestExecute(t *testing.T) {
	for _, c := range []struct {
		name string
		with execute
		body *document.Document
		want string
	}{
		{"names", execute{Process: "fetch", Atom: "edge", Props: []spec.KV{{Name: "recordId", Value: "4711"}}}, document.FromText("not sent"),
			`{"@type":"ExecutionRequest","atomName":"edge","processName":"fetch","DynamicProcessProperties":{"@type":"DynamicProcessProperties","DynamicProcessProperty":[{"@type":"DynamicProcessProperty","name":"recordId","value":"4711"}]},"idempotencyKey":"key-1"}`},
		{"ids and a document", execute{ProcessID: "p", AtomID: "a", Document: true}, document.FromJSON([]byte(`{"a":1}`)),
			`{"@type":"ExecutionRequest","atomId":"a","processId":"p","document":"{\"a\":1}","documentType":"application/json","idempotencyKey":"key-1"}`},
		{"bytes", execute{ProcessID: "p", AtomID: "a", Document: true}, document.New([]byte{0xff, 0}, "application/pdf", ""),
			`{"@type":"ExecutionRequest","atomId":"a","processId":"p","document":"/wA=","documentType":"application/pdf","documentEncoding":"base64","idempotencyKey":"key-1"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := connect(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				user, password, _ := r.BasicAuth()
				if r.Method != "POST" || r.URL.Path != "/api/rest/v1/default/ExecutionRequest" || user != "BOOMI_TOKEN.relay@example.com" || password != "s3cret" ||
					r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Correlation-Id") != "c-1" || string(body) != c.want {
					t.Errorf("%s %s %q %q\n%s\nwant\n%s", r.Method, r.URL, user, password, body, c.want)
				}
				answer(w, 200, requested)
			})
			r, err := executeOperation.Run(t.Context(), conn, &c.with, &connectors.Call{Body: c.body, IdempotencyKey: "key-1", CorrelationID: "c-1"})
			if err != nil {
				t.Fatal(err)
			}
			if got := r.Doc.Data(); got != `{"request_id":"executionrecord-1","record_url":"https://cloud.example/r"}` {
				t.Errorf("got %s, want the request id and record URL", got)
			}
		})
	}
}

func TestRecord(t *testing.T) {
	const prefix = `{"@type":"AsyncOperationResult","responseStatusCode":200,"numberOfResults":1,"result":[`
	var asked atomic.Int32
	conn := connect(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/rest/v1/default/ExecutionRecord/async/executionrecord-1" {
			t.Errorf("path: got %s, want the record of executionrecord-1", r.URL.Path)
		}
		switch asked.Add(1) {
		case 1:
			if r.Header.Get("Prefer") != "wait=20" {
				t.Errorf("Prefer: got %q, want wait=20", r.Header.Get("Prefer"))
			}
			answer(w, 202, ``)
		case 2:
			answer(w, 200, prefix+`{"@type":"ExecutionRecord","status":"INPROCESS"}]}`)
		default:
			answer(w, 200, prefix+`{"@type":"ExecutionRecord","executionId":"execution-1-2026.01.31","status":"ERROR","executionDuration":["Long",12],"message":"no"}]}`)
		}
	})
	r, err := recordOperation.Run(t.Context(), conn, &record{Request: "executionrecord-1", Wait: 20 * time.Second}, &connectors.Call{})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Doc.Data(); got != `{"executionId":"execution-1-2026.01.31","status":"ERROR","executionDuration":12,"message":"no"}` {
		t.Errorf("got %s, want the record without @type and with plain numbers", got)
	}
}

func TestFailures(t *testing.T) {
	settings := &execute{Process: "p", Atom: "a"}
	for _, c := range []struct {
		name      string
		operation connectors.Operation
		with      any
		h         http.HandlerFunc
		code      string
		status    int
		retryable bool
		message   string
	}{
		{"refused", executeOperation, settings, func(w http.ResponseWriter, _ *http.Request) {
			answer(w, 400, `{"@type":"Error","message":"there is no process p"}`)
		}, fault.CodeStatus, 400, false, "there is no process p"},
		{"busy", executeOperation, settings, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			answer(w, 503, `{}`)
		}, fault.CodeStatus, 503, true, "503 Service Unavailable"},
		{"not there", executeOperation, settings, func(w http.ResponseWriter, _ *http.Request) { answer(w, 501, `{}`) }, fault.CodeStatus, 501, false, "501"},
		{"nonsense", executeOperation, settings, func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, `<html>`) }, fault.CodeAnswer, 200, false, "without requestId"},
		{"too large", executeOperation, settings, func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, strings.Repeat(" ", 5000)) }, fault.CodeTooLarge, 200, false, "max_response"},
		{"cut", executeOperation, settings, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			answer(w, 200, `{"`)
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, fault.CodeAborted, 200, true, "broke"},
		{"both", executeOperation, &execute{Process: "p", ProcessID: "p", Atom: "a"}, nil, codeCall, 0, false, "exactly one of process and process_id"},
		{"no atom", executeOperation, &execute{Process: "p"}, nil, codeCall, 0, false, "exactly one of atom and atom_id"},
		{"no request", recordOperation, &record{}, nil, codeCall, 0, false, "needs request"},
		{"pending", recordOperation, &record{Request: "r"}, func(w http.ResponseWriter, _ *http.Request) { answer(w, 202, ``) }, codeNotEnded, 202, true, "no record yet"},
		{"running", recordOperation, &record{Request: "r", Wait: 150 * time.Millisecond}, func(w http.ResponseWriter, _ *http.Request) {
			answer(w, 200, `{"result":[{"status":"INPROCESS"}]}`)
		}, codeNotEnded, 200, true, "INPROCESS"},
		{"unknown", recordOperation, &record{Request: "r"}, func(w http.ResponseWriter, _ *http.Request) { answer(w, 404, `{"message":"gone"}`) }, fault.CodeStatus, 404, false, "gone"},
		{"no json", recordOperation, &record{Request: "r"}, func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, `{`) }, fault.CodeAnswer, 200, false, "not JSON"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := connect(t, func(w http.ResponseWriter, r *http.Request) {
				if c.h == nil {
					t.Errorf("got request %s %s, want none", r.Method, r.URL)
					return
				}
				c.h(w, r)
			})
			_, err := c.operation.Run(t.Context(), conn, c.with, &connectors.Call{})
			var f *fault.Failure
			if !errors.As(err, &f) || f.Code != c.code || f.Status != c.status || f.Retryable != c.retryable || !strings.Contains(f.Message, c.message) {
				t.Errorf("got %+v, want code %s, status %d, retryable %v, message %q", f, c.code, c.status, c.retryable, c.message)
			}
			if c.name == "busy" && f.RetryAfter != 7*time.Second {
				t.Errorf("Retry-After: got %v, want 7s", f.RetryAfter)
			}
			if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("got %v, want no token in it", err)
			}
		})
	}
}

func TestNoConnection(t *testing.T) {
	server := httptest.NewServer(nil)
	conn, err := open(&settings{URL: server.URL, Account: "a", User: "u", Token: "t", ConnectTimeout: time.Second, MaxResponse: 1}, "1", nil)
	if err != nil {
		t.Fatal(err)
	}
	server.Close()
	_, err = recordOperation.Run(t.Context(), conn, &record{Request: "r"}, &connectors.Call{})
	var f *fault.Failure
	if !errors.As(err, &f) || f.Code != fault.CodeConnect || !f.Retryable {
		t.Errorf("got %+v, want %s, retryable", f, fault.CodeConnect)
	}
}

func TestInterrupted(t *testing.T) {
	conn := connect(t, func(w http.ResponseWriter, _ *http.Request) { answer(w, 202, ``) })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := recordOperation.Run(ctx, conn, &record{Request: "r", Wait: time.Minute}, &connectors.Call{})
	var f *fault.Failure
	if !errors.As(err, &f) || f.Code != fault.CodeTimeout || !f.Retryable {
		t.Errorf("got %+v, want %s, retryable", f, fault.CodeTimeout)
	}
}

func TestSettings(t *testing.T) {
	for url, want := range map[string]string{
		"https://cloud.example":                   "https://cloud.example/api/rest/v1",
		"https://cloud.example/":                  "https://cloud.example/api/rest/v1",
		"https://cloud.example:9092/api/rest/v1/": "https://cloud.example:9092/api/rest/v1",
		"http://127.0.0.1:9092":                   "http://127.0.0.1:9092/api/rest/v1",
		"http://[::1]:9092":                       "http://[::1]:9092/api/rest/v1",
		"http://cloud.example":                    "",
		"cloud.example":                           "",
		"https://u:p@cloud.example":               "",
		"ftp://cloud.example":                     "",
		"https://cloud.example/?a=b":              "",
	} {
		got, err := parseURL(url)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: got %q, %v, want %q", url, got, err, want)
		}
	}
	for _, s := range []settings{
		{URL: "https://cloud.example", Account: "a/b", User: "u", Token: "t"},
		{URL: "https://cloud.example", Account: "a", User: "u:x", Token: "t"},
		{URL: "https://cloud.example", Account: "a", User: "u"},
		{URL: "https://cloud.example", Account: "a", User: "u", Token: "t", CA: "/does/not/exist"},
		{URL: "https://cloud.example", Account: "a", User: "u", Token: "t", CA: "-----BEGIN CERTIFICATE-----"},
	} {
		if _, err := open(&s, "1", nil); err == nil {
			t.Errorf("open %+v: got nil, want an error", s)
		}
	}
	if wrong := check(&settings{URL: "${env.URL}", User: "${env.USER}", Account: "${env.ACCOUNT}"}); len(wrong) != 0 {
		t.Errorf("got %v, want no problems", wrong)
	}
}
