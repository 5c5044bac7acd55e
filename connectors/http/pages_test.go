package http

import (
	"context"
	"fmt"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"valence/connectors"
)

// TestPages goes through seven records in pages of three, however the other
// system says where the next page is.
func TestPages(t *testing.T) {
	var asked []string
	server := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		asked = append(asked, r.URL.RequestURI())
		from := 0
		fmt.Sscan(r.URL.Query().Get("cursor")+r.URL.Query().Get("from"), &from)
		if n := r.URL.Query().Get("page"); n != "" {
			fmt.Sscan(n, &from)
			from = (from - 1) * 3
		}
		var list []string
		for i := from; i < min(from+3, 7); i++ {
			list = append(list, fmt.Sprintf(`{"id":%d}`, i))
		}
		next := "null"
		if from+3 < 7 {
			next = fmt.Sprint(from + 3)
			w.Header().Add("Link", `</other>; rel="prev", </list?from=`+next+`>; title="a, b"; rel="last next"`)
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"data":{"items":[%s]},"next":%s,"far":"http://elsewhere.example/x"}`, strings.Join(list, ","), next)
	}))
	defer server.Close()
	s := &settings{}
	s.URL, s.MaxResponse = server.URL, 1<<20
	c, err := open(s, "test", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for name, x := range map[string]struct {
		pages pages
		asked string
	}{
		"cursor": {pages{Cursor: "next", Param: "cursor"}, "/list?a=1 /list?a=1&cursor=3 /list?a=1&cursor=6"},
		"link":   {pages{Link: true}, "/list?a=1 /list?from=3 /list?from=6"},
		"number": {pages{Page: "page", First: 1}, "/list?a=1&page=1 /list?a=1&page=2 /list?a=1&page=3 /list?a=1&page=4"},
	} {
		asked = nil
		x.pages.Items = "data.items"
		got, token := "", ""
		for range 9 {
			r, err := c.Call(context.Background(), &connectors.Call{Operation: "get", With: &with{Path: "/list?a=1", Pages: &x.pages}, Page: token})
			if err != nil {
				t.Fatal(name, err)
			}
			got += r.Doc.Data()
			if token = r.Next; token == "" {
				break
			}
		}
		if a := strings.Join(asked, " "); a != x.asked {
			t.Errorf("%s asked for %s, want %s", name, a, x.asked)
		}
		if n := strings.Count(got, `"id"`); n != 7 {
			t.Errorf("%s: %s", name, got)
		}
	}
	for name, x := range map[string]struct {
		pages pages
		want  string
	}{
		"elsewhere":   {pages{Items: "data.items", Cursor: "far", Param: "cursor"}, "is not the system of this connection"},
		"no list":     {pages{Items: "data", Link: true}, "its `data` is object, not a list"},
		"nothing":     {pages{Items: "data.none", Link: true}, "its `data.none` is null, not a list"},
		"two at once": {pages{Link: true, Page: "page"}, "needs one of cursor, link and page"},
	} {
		call := &connectors.Call{Operation: "get", With: &with{Path: "/list", Pages: &x.pages}}
		r, err := c.Call(context.Background(), call)
		if err == nil {
			call.Page = r.Next
			_, err = c.Call(context.Background(), call)
		}
		if err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
