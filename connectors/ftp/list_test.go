package ftp

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"

	"valence/connectors/connectortest"
)

// fake answers with a listing, as the given features of a server would.
func fake(t *testing.T, features, listing string) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	data, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		fmt.Fprint(c, "220-Welcome\r\n220 to a server\r\n")
		for lines := bufio.NewScanner(c); lines.Scan(); {
			command, _, _ := strings.Cut(lines.Text(), " ")
			switch command {
			case "FEAT":
				fmt.Fprint(c, "211-Features:\r\n "+features+"\r\n211 End\r\n")
			case "PWD":
				fmt.Fprint(c, "257 \"/home\" is the folder\r\n")
			case "EPSV":
				fmt.Fprintf(c, "229 Entering (|||%d|)\r\n", data.Addr().(*net.TCPAddr).Port)
			case "LIST", "MLSD":
				fmt.Fprint(c, "150 Here it comes\r\n")
				d, err := data.Accept()
				if err != nil {
					return
				}
				fmt.Fprint(d, strings.ReplaceAll(listing, "\n", "\r\n"))
				d.Close()
				fmt.Fprint(c, "226 Done\r\n")
			case "PASS":
				fmt.Fprint(c, "230 Hello\r\n")
			case "USER":
				fmt.Fprint(c, "331 Password?\r\n")
			case "CWD":
				fmt.Fprint(c, "250 OK\r\n")
			default:
				fmt.Fprint(c, "200 OK\r\n")
			}
		}
	}()
	t.Cleanup(func() {
		l.Close()
		data.Close()
		<-ended
	})
	return l.Addr().String()
}

// TestListings checks the formats in which servers list files, and their time
// zones.
func TestListings(t *testing.T) {
	for what, x := range map[string]struct{ features, zone, listing, want string }{
		"MLSD is in UTC": {"MLST type*;size*;modify*;", "America/New_York", "type=dir;modify=20260301120000; sub\ntype=file;size=5;modify=20260301120000.123; a b.txt\n",
			`a b.txt 5 2026-03-01T12:00:00Z`},
		"a name that leads out of the folder": {"MLST", "UTC", "type=file;size=1;modify=20260301120000; ../x\ntype=file;size=1;modify=20260301120000; /etc/y\ntype=file;size=1;modify=20260301120000; ok\n",
			`ok 1 2026-03-01T12:00:00Z`},
		"Unix": {"SIZE", "America/New_York", "total 3\n-rw-r--r--   1 a  b   12 Mar  1  2019 old.txt\ndrwxr-xr-x  2 a b 4096 Mar  1 2019 dir\nlrwxrwxrwx 1 a b 5 Mar  1 2019 link -> old.txt\n",
			`old.txt 12 2019-03-01T05:00:00Z`},
		"Unix with ACLs":       {"SIZE", "UTC", "-rw-r--r--+  1 a  b   12 Mar  1  2019   two  spaces\n", `  two  spaces 12 2019-03-01T00:00:00Z`},
		"Windows":              {"SIZE", "Europe/Lisbon", "07-01-19  03:04PM       <DIR>          dir\n07-01-19  03:04PM              1234 report final.csv\n", `report final.csv 1234 2019-07-01T14:04:00Z`},
		"Windows with years":   {"SIZE", "UTC", "2019-07-01  15:04                 7 x.csv\n", `x.csv 7 2019-07-01T15:04:00Z`},
		"lines of other kinds": {"SIZE", "UTC", "???\n\n-rw\n-rw-r--r-- 1 a b 1 Mar 1 2019 x\n", `x 1 2019-03-01T00:00:00Z`},
		"nothing":              {"SIZE", "UTC", "", ``},
	} {
		s := at(t, fake(t, x.features, x.listing), connectortest.Settings{"timezone": x.zone})
		c := connect(t, s)
		got, err := call(t.Context(), t, c, "list", "", nil)
		want := "[]"
		if x.want != "" {
			name := x.want[:strings.LastIndex(x.want[:strings.LastIndex(x.want, " ")], " ")]
			rest := strings.Fields(x.want[len(name):])
			want = fmt.Sprintf(`[{"name":%q,"path":%q,"size":%s,"modified":%q}]`, name, name, rest[0], rest[1])
		}
		if err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", what, got, err, want)
		}
		_ = c.Close()
	}
}
