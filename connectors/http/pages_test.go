package http

import (
	"context"
	"errors"
	"fmt"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"valence/connectors"
)

// TestPages reads seven records in pages of three for every paging style.
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
	c, err := open(s, "test", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for name, x := range map[string]struct {
		pages pages
		asked string
	}{
		"cursor": {pages{Cursor: []string{"next"}, Param: "cursor"}, "/list?a=1 /list?a=1&cursor=3 /list?a=1&cursor=6"},
		"link":   {pages{Link: true}, "/list?a=1 /list?from=3 /list?from=6"},
		"number": {pages{Page: "page", First: 1}, "/list?a=1&page=1 /list?a=1&page=2 /list?a=1&page=3 /list?a=1&page=4"},
	} {
		asked = nil
		x.pages.Items = []string{"data.items"}
		got, token := "", ""
		for range 9 {
			r, err := c.do(context.Background(), &testCall{operation: "get", with: &with{Path: "/list?a=1", Pages: &x.pages}, Call: connectors.Call{Page: token}})
			if err != nil {
				t.Fatalf("%s: got %v, want nil", name, err)
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
			t.Errorf("%s: got %d records, want 7: %s", name, n, got)
		}
	}
	for name, x := range map[string]struct {
		pages pages
		want  string
	}{
		"misspelled":  {pages{Items: []string{"data.items"}, Cursor: []string{"Next"}, Param: "cursor"}, "it has no `Next`; did you mean `next`?"},
		"below text":  {pages{Items: []string{"data.items"}, Cursor: []string{"far.next"}, Param: "cursor"}, "`far.next` cannot be read, because `far` is text"},
		"elsewhere":   {pages{Items: []string{"data.items"}, Cursor: []string{"far"}, Param: "cursor"}, "outside this connection's system"},
		"no list":     {pages{Items: []string{"data"}, Link: true}, "its `data` is object, not a list"},
		"nothing":     {pages{Items: []string{"data.none"}, Link: true}, "it has no `data.none`, which should be the list of records"},
		"two at once": {pages{Link: true, Page: "page"}, "must set exactly one of cursor, link and page"},
	} {
		call := &testCall{operation: "get", with: &with{Path: "/list", Pages: &x.pages}}
		r, err := c.do(context.Background(), call)
		if err == nil {
			call.Page = r.Next
			_, err = c.do(context.Background(), call)
		}
		if err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: got %v, want %s", name, err, x.want)
		}
	}
}

// pageServer serves one response per request, in order, and then fails the test.
func pageServer(t *testing.T, list ...func(w nethttp.ResponseWriter)) (c *connection, asked *[]string) {
	t.Helper()
	asked = &[]string{}
	server := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		*asked = append(*asked, r.RequestURI)
		if n := len(*asked); n <= len(list) {
			list[n-1](w)
			return
		}
		w.WriteHeader(500)
	}))
	t.Cleanup(server.Close)
	s := &settings{}
	s.URL, s.MaxResponse, s.Redirects.Max = server.URL, 1<<20, 3
	c, err := open(s, "test", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, asked
}

func page(status int, body string, headers ...string) func(nethttp.ResponseWriter) {
	return func(w nethttp.ResponseWriter) {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i < len(headers); i += 2 {
			w.Header().Add(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

// allPages requests pages until the end or an error and returns the records.
func allPages(c *connection, path string, p *pages, accept ...int) (records string, err error) {
	token := ""
	call := &testCall{operation: "get", with: &with{Path: path, Pages: p}}
	if len(accept) > 0 {
		call.Accept = connectors.Accept{{From: 200, To: 299}}
		for _, status := range accept {
			call.Accept = append(call.Accept, connectors.StatusRange{From: status, To: status})
		}
	}
	for range 9 {
		call.Page = token
		r, err := c.do(context.Background(), call)
		if err != nil {
			return records, err
		}
		records += r.Doc.Data()
		if token = r.Next; token == "" {
			return records, nil
		}
	}
	return records, errors.New("no end")
}

// Links to the next page are read as RFC 8288 says.
func TestLinkHeader(t *testing.T) {
	for name, header := range map[string]string{
		"plain":                   `</p?last>; rel="next"`,
		"comma in url":            `</p?f=a,b&last>; rel="next"`,
		"comma in title":          `</p?last>; title="two, of 3"; rel="next"`,
		"rel in title":            `</p?bad>; title="x;rel=next"; rel="last", </p?last>; rel="next"`,
		"escaped quote":           `</p?last>; title="a\"b, c"; rel="next"`,
		"escaped quote before":    `</p?bad>; title="say \"hi\", ok"; rel="prev", </p?last>; rel=next`,
		"anchor":                  `</p?bad>; rel="next"; anchor="/other", </p?last>; rel="next"`,
		"anchor of this page":     `</p?last>; rel="next"; anchor="?first"`,
		"two rels":                `</p?last>; rel="last next"`,
		"rel twice":               `</p?bad>; rel=last; rel=next, </p?last>;rel=next`,
		"parameter without value": `</p?bad>; rel=prev;title, </p?last>;rel="next"`,
		"spaces and empty links":  `, ,</p?bad> ; rel = "prev" ,, <?last> ; REL = NEXT `,
		"relative":                `<p?last>; rel=next`,
		"only a query":            `<?last>; rel=next`,
	} {
		c, asked := pageServer(t, page(200, `[1]`, "Link", header), page(200, `[2]`))
		got, err := allPages(c, "/p?first", &pages{Link: true})
		if err != nil || got != "[1][2]" || !strings.Contains((*asked)[1], "last") {
			t.Errorf("%s: got %s, %v after requests %v, want [1][2], the second request for the last page and no error", name, got, err, *asked)
		}
	}
	for name, header := range map[string]string{
		"no target": `rel="next"`, "open target": `</p; rel=next`, "open quote": `</p>; rel="next`, "text after the target": `</p> rel=next`,
	} {
		c, _ := pageServer(t, page(200, `[1]`, "Link", header))
		if got, err := allPages(c, "/p", &pages{Link: true}); err == nil || !strings.Contains(err.Error(), "the Link header is not valid (RFC 8288)") {
			t.Errorf("%s: got %s, %v, want an error", name, got, err)
		}
	}
}

// Every key can be named, links are resolved against the page that gave them.
func TestNextInBody(t *testing.T) {
	for name, x := range map[string]struct {
		pages  pages
		bodies []string
		asked  string
	}{
		"key with dots": {pages{Items: []string{"value"}, Cursor: []string{"@odata.nextLink"}},
			[]string{`{"value":[1],"@odata.nextLink":"/p?$skiptoken=2"}`, `{"value":[2]}`}, "/a/p /p?$skiptoken=2"},
		"list of keys": {pages{Items: []string{"a.b", "c"}, Cursor: []string{"x.y", "z"}, Param: "n"},
			[]string{`{"a.b":{"c":[1]},"x.y":{"z":"t"}}`, `{"a.b":{"c":[2]},"x.y":null}`}, "/a/p /a/p?n=t"},
		"relative to the page": {pages{Items: []string{"v"}, Cursor: []string{"next"}},
			[]string{`{"v":[1],"next":"/b/p?2"}`, `{"v":[2],"next":"./q?3"}`, `{"v":[3],"next":"?4"}`, `{"v":[4],"next":""}`}, "/a/p /b/p?2 /b/q?3 /b/q?4"},
		"made valid": {pages{Items: []string{"v"}, Cursor: []string{"next"}},
			[]string{`{"v":[1],"next":"/b p?q=Müller {1}&r=a%20b+c%2F%zz"}`, `{"v":[2]}`}, "/a/p /b%20p?q=M%C3%BCller%20%7B1%7D&r=a%20b+c%2F%25zz"},
		"null list": {pages{Items: []string{"v"}, Cursor: []string{"next"}, Param: "n"}, []string{`{"v":null,"next":2}`, `{"v":[1],"next":null}`}, "/a/p /a/p?n=2"},
	} {
		var list []func(nethttp.ResponseWriter)
		for _, body := range x.bodies {
			list = append(list, page(200, body))
		}
		c, asked := pageServer(t, list...)
		got, err := allPages(c, "/a/p", &x.pages)
		if a := strings.Join(*asked, " "); err != nil || a != x.asked {
			t.Errorf("%s: got %s, %v\n got %s\nwant %s", name, got, err, a, x.asked)
		}
	}
	c, _ := pageServer(t, page(200, `{"v":[1],"next":"/`+strings.Repeat("x", 9000)+`"}`))
	if _, err := allPages(c, "/p", &pages{Items: []string{"v"}, Cursor: []string{"next"}}); err == nil || !strings.Contains(err.Error(), "its `next` is longer than 8 KiB") {
		t.Errorf("got %v, want an error about the length", err)
	}
}

// A numbered page may end the loop in several ways, but a page that cannot be
// read never does.
func TestPagesEnd(t *testing.T) {
	for name, x := range map[string]struct {
		pages  pages
		first  string
		last   func(nethttp.ResponseWriter)
		accept []int
		want   string
	}{
		"list":                       {pages{Page: "page", First: 1}, `{"data":[1]}`, page(200, `{"data":[]}`), nil, ""},
		"204":                        {pages{Page: "page", First: 1}, `{"data":[1]}`, page(204, ``), nil, ""},
		"null":                       {pages{Page: "page", First: 1}, `{"data":[1]}`, page(200, `{"data":null}`), nil, ""},
		"accepted 404":               {pages{Page: "page", First: 1}, `{"data":[1]}`, page(404, `{"message":"no such page"}`), []int{404}, ""},
		"404":                        {pages{Page: "page", First: 1}, `{"data":[1]}`, page(404, `{}`), nil, "returned 404"},
		"error in the body":          {pages{Page: "page", First: 1}, `{"data":[1]}`, page(200, `{"error":"slow down"}`), nil, "it has no `data`"},
		"nothing":                    {pages{Page: "page", First: 1}, `{"data":[1]}`, page(200, ``), nil, "the response is empty"},
		"the same page":              {pages{Page: "page", First: 1}, `{"data":[1]}`, page(200, `{"data": [1]}`), nil, "page 2 has the same records as the page before: the system ignores `page`, or repeats its last page"},
		"first page without list":    {pages{Page: "page", First: 1}, `{"daten":[1]}`, nil, nil, "it has no `data`"},
		"cursor that is not found":   {pages{Cursor: []string{"next"}, Param: "c"}, `{"data":[1],"next":"x"}`, page(404, `{"message":"unknown cursor"}`), []int{404}, "it has no `data`"},
		"204 after cursor":           {pages{Cursor: []string{"next"}, Param: "c"}, `{"data":[1],"next":"x"}`, page(204, ``), nil, ""},
		"cursor in another spelling": {pages{Cursor: []string{"nextcursor"}, Param: "c"}, `{"data":[1],"nextCursor":"x"}`, nil, nil, "did you mean `nextCursor`?"},
	} {
		list := []func(nethttp.ResponseWriter){page(200, x.first)}
		if x.last != nil {
			list = append(list, x.last)
		}
		c, _ := pageServer(t, list...)
		x.pages.Items = []string{"data"}
		got, err := allPages(c, "/p", &x.pages, x.accept...)
		if x.want == "" && (err != nil || !strings.HasPrefix(got, "[1]")) || x.want != "" && (err == nil || !strings.Contains(err.Error(), x.want)) {
			t.Errorf("%s: got %s, %v, want %q", name, got, err, x.want)
		}
	}
}
