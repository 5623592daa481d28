# Forks, pipes, sockets, signals and files of one Perl program; a line each, checked by the suite.
use strict;
use warnings;
use Fcntl qw(:flock);
use IO::Socket::INET;
use POSIX qw(:sys_wait_h);
use File::Temp qw(tempdir);

$| = 1;
pipe(my $reader, my $writer) or die;
my $child = fork();
if (!$child) { close $reader; print $writer join(",", map { $_ * $_ } 1 .. 5), "\n"; close $writer; exit 4; }
close $writer;
print "pipe ", scalar(<$reader>);
waitpid($child, 0);
print "exit ", $? >> 8, "\n";
my $server = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1") or die;
$child = fork();
if (!$child) {
    my $socket = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $server->sockport) or die;
    print $socket "knock\n";
    exit 0;
}
my $peer = $server->accept;
print "socket ", scalar(<$peer>);
waitpid($child, 0);
my $place = tempdir(CLEANUP => 1);
open(my $file, ">", "$place/x") or die;
flock($file, LOCK_EX) or die;
open(my $again, ">>", "$place/x") or die;
print "lock ", (flock($again, LOCK_EX | LOCK_NB) ? "taken" : "refused"), "\n";
local $SIG{ALRM} = sub { print "alarm\n"; };
alarm 1;
sleep 5;
my %counted;
$counted{$_}++ for "the quick brown the lazy the" =~ /\w+/g;
print "words $counted{the} ", scalar(keys %counted), "\n";
print "command ", `echo backtick`;
exit 11;
