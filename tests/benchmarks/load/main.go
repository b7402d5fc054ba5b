// Command load asks one server for things over mutual TLS 1.3, and says how long the answers took.
//
// It connects first, says so, and then runs one round for each line of JSON on its standard input, on connections that
// stay open from round to round: whoever measures the server's CPU time around a round measures requests alone.
package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http/httputil"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	dialTimeout   = 10 * time.Second
	answerTimeout = 30 * time.Second
	bufferBytes   = 64 << 10
)

// Order is one line of input: a round that ends after so many seconds, or after so many requests if that is not 0.
// Rate is in requests a second over all connections; 0 is as fast as answers come. A paced request is timed from the
// moment at which it was due, so that a server which holds up the next ones cannot hide it.
type Order struct {
	Seconds  float64 `json:"seconds"`
	Requests int64   `json:"requests"`
	Rate     float64 `json:"rate"`
}

// Seen is a number in a body that was not in the one before it, and when (Unix time in ns) it had been read.
type Seen struct {
	Value int64 `json:"value"`
	At    int64 `json:"at"`
}

// Report is one line of output. Latencies are in microseconds, CPU is what this program itself has used.
type Report struct {
	Requests   int64              `json:"requests"`
	Errors     int64              `json:"errors"`
	FirstError string             `json:"first_error"`
	Statuses   map[int]int64      `json:"statuses"`
	Bytes      int64              `json:"bytes"`
	Seconds    float64            `json:"seconds"`
	CPU        float64            `json:"cpu"`
	Latency    map[string]float64 `json:"latency"`
	Seen       []Seen             `json:"seen"`
}

type settings struct {
	address string
	tls     *tls.Config
	wanted  [][]byte
	connect bool
	follow  []byte
}

type texts []string

func (t *texts) String() string     { return strings.Join(*t, ", ") }
func (t *texts) Set(s string) error { *t = append(*t, s); return nil }

func main() {
	var headers texts
	address := flag.String("address", "", "host:port of the server")
	name := flag.String("name", "localhost", "name that the server's certificate is for, and Host header")
	ca := flag.String("ca", "", "PEM file with the CAs to trust; without it, plain HTTP")
	certificate := flag.String("cert", "", "PEM file with the client's certificate")
	key := flag.String("key", "", "PEM file with its key")
	targets := flag.String("targets", "", "file with a request target on each line; one is chosen at random each time")
	method := flag.String("method", "GET", "method of every request")
	flag.Var(&headers, "header", "another header, as 'Name: value'; repeatable")
	connections := flag.Int("connections", 16, "how many to open")
	connect := flag.Bool("connect", false, "make a connection, with a full handshake, for each request, or for none")
	follow := flag.String("follow", "", "report each new value of the number that follows this text in a body")
	threads := flag.Int("threads", 1, "processors to use")
	flag.Parse()
	runtime.GOMAXPROCS(*threads)

	s := settings{address: *address, connect: *connect, follow: []byte(*follow)}
	var err error
	if s.tls, err = clientTLS(*ca, *certificate, *key, *name); err != nil {
		fail(err)
	}
	if s.wanted, err = requests(*targets, *method, *name, headers); err != nil {
		fail(err)
	}
	if len(s.wanted) == 0 && !s.connect {
		fail(errors.New("-targets names nothing to ask for"))
	}
	if err := serve(s, *connections); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintf(os.Stderr, "load: %v\n", err)
	os.Exit(1)
}

func clientTLS(ca, certificate, key, name string) (*tls.Config, error) {
	if ca == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", ca)
	}
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, err
	}
	// No session cache: every handshake is a full one.
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		RootCAs:      roots,
		Certificates: []tls.Certificate{pair},
		ServerName:   name,
	}, nil
}

func requests(file, method, host string, headers []string) ([][]byte, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var wanted [][]byte
	for target := range strings.FieldsSeq(string(text)) {
		lines := append([]string{method + " " + target + " HTTP/1.1", "Host: " + host}, headers...)
		wanted = append(wanted, []byte(strings.Join(lines, "\r\n")+"\r\n\r\n"))
	}
	return wanted, nil
}

// serve opens the connections, says "ready", and runs a round for each order until there are no more.
func serve(s settings, connections int) error {
	workers := make([]*worker, connections)
	for i := range workers {
		workers[i] = &worker{settings: s, chance: rand.New(rand.NewPCG(uint64(i), 1)), last: -1}
		if !s.connect {
			if err := workers[i].open(); err != nil {
				return err
			}
			if _, err := workers[i].ask(); err != nil {
				return err
			}
		}
	}
	fmt.Println(`"ready"`)
	orders := json.NewDecoder(os.Stdin)
	for {
		var order Order
		if err := orders.Decode(&order); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		line, err := json.Marshal(run(workers, order))
		if err != nil {
			return err
		}
		fmt.Println(string(line))
	}
}

func run(workers []*worker, order Order) Report {
	var left atomic.Int64
	left.Store(order.Requests)
	if order.Requests == 0 {
		left.Store(1 << 62)
	}
	cpu, started := usage(), time.Now()
	end := started.Add(time.Duration(order.Seconds * float64(time.Second)))
	var group sync.WaitGroup
	for i, w := range workers {
		group.Go(func() {
			w.reset()
			var step time.Duration
			due := started
			if order.Rate > 0 {
				step = time.Duration(float64(len(workers)) / order.Rate * float64(time.Second))
				due = due.Add(step * time.Duration(i) / time.Duration(len(workers)))
			}
			w.round(due, step, end, &left)
		})
	}
	group.Wait()
	report := Report{Seconds: time.Since(started).Seconds(), CPU: usage() - cpu, Statuses: map[int]int64{}}
	var latencies []time.Duration
	for _, w := range workers {
		latencies = append(latencies, w.latencies...)
		report.Errors += w.errors
		report.Bytes += w.bytes
		report.Seen = append(report.Seen, w.seen...)
		for status, count := range w.statuses {
			report.Statuses[status] += count
		}
		if report.FirstError == "" {
			report.FirstError = w.firstError
		}
	}
	report.Requests = int64(len(latencies))
	report.Latency = percentiles(latencies)
	return report
}

func usage() float64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
}

func percentiles(latencies []time.Duration) map[string]float64 {
	if len(latencies) == 0 {
		return map[string]float64{}
	}
	slices.Sort(latencies)
	at := func(share float64) float64 {
		return float64(latencies[min(len(latencies)-1, int(share*float64(len(latencies))))].Nanoseconds()) / 1000
	}
	return map[string]float64{"p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999), "max": at(1)}
}

// worker is one connection and what has come over it in this round.
type worker struct {
	settings
	chance     *rand.Rand
	connection net.Conn
	reader     *bufio.Reader
	latencies  []time.Duration
	statuses   map[int]int64
	bytes      int64
	errors     int64
	firstError string
	last       int64
	seen       []Seen
}

func (w *worker) reset() {
	w.latencies, w.seen = w.latencies[:0], nil
	w.statuses = map[int]int64{}
	w.bytes, w.errors, w.firstError = 0, 0, ""
}

func (w *worker) round(due time.Time, step time.Duration, end time.Time, left *atomic.Int64) {
	for left.Add(-1) >= 0 {
		if step > 0 {
			if due.After(end) {
				return
			}
			time.Sleep(time.Until(due))
		} else {
			due = time.Now()
			if due.After(end) {
				return
			}
		}
		status, err := w.once()
		if err != nil {
			w.errors++
			w.firstError = err.Error()
			w.close()
		} else {
			w.latencies = append(w.latencies, time.Since(due))
			w.statuses[status]++
		}
		due = due.Add(step)
	}
}

func (w *worker) once() (int, error) {
	if w.connection == nil {
		if err := w.open(); err != nil {
			return 0, err
		}
	}
	if !w.connect {
		return w.ask()
	}
	defer w.close()
	status := 0
	if len(w.wanted) > 0 {
		var err error
		if status, err = w.ask(); err != nil {
			return 0, err
		}
	}
	return status, w.part()
}

func (w *worker) open() error {
	dialed, err := net.DialTimeout("tcp", w.address, dialTimeout)
	if err != nil {
		return err
	}
	w.connection = dialed
	if w.tls != nil {
		secured := tls.Client(dialed, w.tls)
		dialed.SetDeadline(time.Now().Add(dialTimeout))
		if err := secured.Handshake(); err != nil {
			w.close()
			return err
		}
		w.connection = secured
	}
	w.reader = bufio.NewReaderSize(w.connection, bufferBytes)
	return nil
}

func (w *worker) close() {
	if w.connection != nil {
		w.connection.Close()
		w.connection = nil
	}
}

// part says goodbye and waits for the server's: only then is it known to have finished the handshake.
func (w *worker) part() error {
	if secured, ok := w.connection.(*tls.Conn); ok {
		if err := secured.CloseWrite(); err != nil {
			return err
		}
	}
	_, err := io.Copy(io.Discard, w.reader)
	return err
}

func (w *worker) ask() (int, error) {
	w.connection.SetDeadline(time.Now().Add(answerTimeout))
	wanted := w.wanted[0]
	if len(w.wanted) > 1 {
		wanted = w.wanted[w.chance.IntN(len(w.wanted))]
	}
	if _, err := w.connection.Write(wanted); err != nil {
		return 0, err
	}
	return w.answer(bytes.HasPrefix(wanted, []byte("HEAD ")))
}

// answer reads one answer to its end.
func (w *worker) answer(headOnly bool) (int, error) {
	line, err := w.line()
	if err != nil {
		return 0, err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.")) {
		return 0, fmt.Errorf("%q is no status line", line)
	}
	status, err := strconv.Atoi(string(line[9:12]))
	if err != nil {
		return 0, err
	}
	length, chunked, last := int64(0), false, false
	for {
		if line, err = w.line(); err != nil {
			return 0, err
		}
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("content-length")):
			if length, err = strconv.ParseInt(string(value), 10, 64); err != nil {
				return 0, err
			}
		case bytes.EqualFold(name, []byte("transfer-encoding")):
			chunked = bytes.EqualFold(value, []byte("chunked"))
		case bytes.EqualFold(name, []byte("connection")):
			last = bytes.EqualFold(value, []byte("close"))
		}
	}
	if err := w.body(length, chunked, headOnly || status == 304 || status == 204); err != nil {
		return 0, err
	}
	if last && !w.connect {
		w.close()
	}
	return status, nil
}

func (w *worker) line() ([]byte, error) {
	line, err := w.reader.ReadSlice('\n')
	return bytes.TrimRight(line, "\r\n"), err
}

func (w *worker) body(length int64, chunked, none bool) error {
	if none {
		return nil
	}
	if len(w.follow) > 0 {
		content := make([]byte, length)
		if _, err := io.ReadFull(w.reader, content); err != nil {
			return err
		}
		w.note(content)
	} else if !chunked {
		if _, err := w.reader.Discard(int(length)); err != nil {
			return err
		}
	} else {
		var err error
		if length, err = io.Copy(io.Discard, httputil.NewChunkedReader(w.reader)); err != nil {
			return err
		}
		if _, err = w.line(); err != nil { // that reader leaves the empty line after the last chunk
			return err
		}
	}
	w.bytes += length
	return nil
}

// note looks for a number that was not there before.
func (w *worker) note(content []byte) {
	_, rest, found := bytes.Cut(content, w.follow)
	if !found {
		return
	}
	rest = bytes.TrimLeft(rest, " ")
	end := 0
	for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	value, err := strconv.ParseInt(string(rest[:end]), 10, 64)
	if err == nil && value != w.last {
		w.last = value
		w.seen = append(w.seen, Seen{value, time.Now().UnixNano()})
	}
}
