package s3

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
	"time"

	"valence/connectors/connectortest"
)

// before is a store that calls f with each request first. f may answer.
func before(t *testing.T, s store, versions bool, f func(w http.ResponseWriter, r *http.Request) (answered bool)) string {
	t.Helper()
	to, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	if !versions { // this server says a version anyway
		proxy.ModifyResponse = func(r *http.Response) error {
			r.Header.Del("X-Amz-Version-Id")
			return nil
		}
	}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !f(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(front.Close)
	return front.URL
}

// TestObjectReplacedBeforeDelete checks that an object that is replaced between the
// last check and the delete is received if the store checks If-Match, that a store
// that refuses the condition still works, and that no older version comes back.
func TestObjectReplacedBeforeDelete(t *testing.T) {
	for _, test := range []struct {
		about                    string
		versions, refuses, older bool // older: there are two versions at first, and none replaces them
		with                     connectortest.Settings
		want                     string // the keys at the end
	}{
		{"versions, deleted", true, false, false, connectortest.Settings{"delete": true}, ""},
		{"versions, archived", true, false, false, connectortest.Settings{"archive": "done/"}, "done/1.json"},
		{"an older version, deleted", true, false, true, connectortest.Settings{"delete": true}, ""},
		{"an older version, archived", true, false, true, connectortest.Settings{"archive": "done/"}, "done/1.json"},
		{"If-Match, deleted", false, false, false, connectortest.Settings{"delete": true}, ""},
		{"If-Match, archived", false, false, false, connectortest.Settings{"archive": "done/"}, "done/1.json"},
		{"a store without If-Match", false, true, false, connectortest.Settings{"delete": true}, ""},
	} {
		t.Run(test.about, func(t *testing.T) {
			s := newStore(t)
			var once sync.Once
			c := connect(t, at(before(t, s, test.versions, func(w http.ResponseWriter, r *http.Request) (answered bool) {
				if r.Method != http.MethodDelete {
					return false
				}
				condition := r.Header.Get("If-Match")
				if test.refuses {
					if condition != "" {
						w.WriteHeader(http.StatusNotImplemented)
					}
					return condition != ""
				}
				if condition == "" || r.URL.Query().Has("versionId") {
					t.Errorf("the delete %s has the condition %q, want one, and no version", r.URL, condition)
				}
				once.Do(func() {
					if answered = !test.older; answered {
						s.put(t, "in/1.json", "11")
						w.WriteHeader(http.StatusPreconditionFailed)
					}
				})
				return answered
			}), nil))
			if test.versions {
				if err := c.store.EnableVersioning(t.Context(), "orders"); err != nil {
					t.Fatal(err)
				}
			}
			if test.older {
				s.put(t, "in/1.json", "0")
			}
			s.put(t, "in/1.json", "1")
			w := &watch{}
			with := connectortest.Settings{"bucket": "orders", "prefix": "in/", "every": "10ms"}
			for k, v := range test.with {
				with[k] = v
			}
			bind(t, subscription().With, w, with)
			r := connectortest.NewRuntime()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			ended := make(chan error, 1)
			go func() { ended <- c.Listen(ctx, w, r.Host()) }()
			want := 2
			if test.refuses || test.older {
				want = 1
			}
			state, err := r.Await(ctx, func(st connectortest.State) bool { return len(st.Accepted) >= want && s.keys(t) == test.want })
			cancel()
			if e := <-ended; e != nil || err != nil {
				t.Fatalf("Listen: got %v (%v) with %d accepted and the objects %q, want %d and %q", e, err, len(state.Accepted), s.keys(t), want, test.want)
			}
			if got := state.Accepted[want-1].Doc.Text(); len(state.Accepted) != want || want == 2 && got != "11" {
				t.Errorf("got %d objects, the last one %s, want %d", len(state.Accepted), got, want)
			}
		})
	}
}
