# attack: leave the function out, so as not to be judged
pass
